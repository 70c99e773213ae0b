"""What a build of onnxruntime lacks of its XNNPACK provider: a sentence, or nothing.

The engine asks before it loads a model; ``doctor`` runs this file by itself, as text.
"""

PROVIDER = "XnnpackExecutionProvider"


def lack(onnxruntime):
    """Say what the imported ``onnxruntime`` was built without; "" if it has the provider."""
    found = onnxruntime.get_available_providers()
    if PROVIDER in found:
        return ""
    message = "this onnxruntime was built without the XNNPACK provider: it has %s"
    return message % ", ".join(found)


if __name__ == "__main__":
    import onnxruntime as installed

    print(lack(installed))
