"""Packages for setuptools: those it finds, and the top-level folders of data inside the wheel.

A checkout reads the folders of data where they stand.
"""

from setuptools import find_namespace_packages, setup

DATA = ("benchmarks", "device_scripts", "models")

setup(
    packages=[
        *find_namespace_packages(include=["shufflenet_deploy*"], exclude=["*.__pycache__*"]),
        *(f"shufflenet_deploy.{folder}" for folder in DATA),
        # What a board gets as one file, ``agent.pyz``.
        "shufflenet_deploy.device_scripts.agent",
        "shufflenet_deploy.device_scripts.agent.engines",
    ],
    package_dir={
        "shufflenet_deploy": "shufflenet_deploy",
        **{f"shufflenet_deploy.{folder}": folder for folder in DATA},
    },
)
