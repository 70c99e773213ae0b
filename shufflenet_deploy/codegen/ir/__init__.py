"""The intermediate representation: ops over views of buffers, in execution order."""
