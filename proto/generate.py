"""Writes the Python modules of the contract: `collector_pb2.py` and its stub.

The module holds the compiled descriptors and makes the message classes from them at import, in a pool of its own. So it
works with every protobuf release that its package allows, whatever the generator's version, and the daemon's and the
client's copies can be loaded side by side.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = "collectord/v1/collector.proto"

TEMPLATE = '''"""Made from {proto} by proto/generate.py."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FILES = descriptor_pb2.FileDescriptorSet.FromString(
    {descriptors!r}
)
POOL = descriptor_pool.DescriptorPool()
for _file in _FILES.file:
    POOL.AddSerializedFile(_file.SerializeToString())
DESCRIPTOR = POOL.FindFileByName({proto!r})

for _name, _descriptor in DESCRIPTOR.message_types_by_name.items():
    globals()[_name] = message_factory.GetMessageClass(_descriptor)
for _enum in DESCRIPTOR.enum_types_by_name.values():
    for _value in _enum.values:
        globals()[_value.name] = _value.number
'''


def write(package: Path) -> None:
    """Writes the modules into the folder `package`, which becomes a Python package."""
    package.mkdir(parents=True, exist_ok=True)
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        status = protoc.main(
            [
                "protoc",
                f"-I{HERE}",
                f"-I{well_known}",
                f"--descriptor_set_out={made / 'set'}",
                "--include_imports",
                f"--pyi_out={made}",
                PROTO,
            ]
        )
        if status != 0:
            sys.exit(f"protoc failed with status {status} on {HERE / PROTO}")
        descriptors = (made / "set").read_bytes()
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptors)
        assert files.file, "protoc wrote no descriptors"
        stub = (made / PROTO).with_name("collector_pb2.pyi").read_text()
    outputs = {
        "__init__.py": '"""Generated from proto/ by the build."""\n',
        "collector_pb2.py": TEMPLATE.format(proto=PROTO, descriptors=descriptors),
        "collector_pb2.pyi": "from google.protobuf import descriptor_pool\n\n"
        "POOL: descriptor_pool.DescriptorPool\n\n" + stub,
    }
    for name, text in outputs.items():
        path = package / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    for target in sys.argv[1:]:
        write(Path(target))
