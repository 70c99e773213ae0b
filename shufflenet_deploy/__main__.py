"""``python -m shufflenet_deploy`` is the ``shufflenet-deploy`` command."""

from shufflenet_deploy.cli import main

if __name__ == "__main__":
    main()
