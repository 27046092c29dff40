"""Becomes `python -m collectord ARGUMENTS`, bound to the life of the test that started it.

    python launch.py UID IMPATIENCE ARGUMENTS...

UID other than -1: as that user. IMPATIENCE other than 0: the store's answers are waited for only so many seconds.
"""

import ctypes
import os
import signal
import sys

uid, impatience = int(sys.argv[1]), float(sys.argv[2])
if uid >= 0:
    # Later on the interpreter's own files may be out of its reach.
    import encodings.idna  # noqa: F401

    import collectord.admin.http
    import collectord.daemon
    import collectord.process  # noqa: F401

    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
sys.argv[:] = ["collectord", *sys.argv[3:]]
if impatience:
    from collectord.upload import azureblob

    azureblob.AzureBlob.__init__.__kwdefaults__.update(connect_timeout=impatience, read_timeout=impatience)  # type: ignore[attr-defined]
    from collectord.telemetry import delivery, poster

    poster.READ_SECONDS = impatience
    delivery.LINGER, delivery.AGAIN_FIRST = impatience / 6, impatience / 6
from collectord.cli.main import main  # noqa: E402

main()
