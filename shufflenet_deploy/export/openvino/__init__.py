"""Export to OpenVINO's files: its own converter, int8 by NNCF."""
