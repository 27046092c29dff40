"""Scoring scripts behind Flask and FastAPI: that of Azure ML's documentation, word for word, and the examples."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

from tests.e2e.azureml import service
from tests.e2e.conftest import MakeDaemon
from tests.hosts.serving import FASTAPI, FLASK, Server, ask, serving

EXAMPLES = service.ROOT / "examples"


@pytest.mark.parametrize("server", [*FLASK, *FASTAPI], ids=str)
def test_the_script_of_the_documentation(make_daemon: MakeDaemon, python: Path, server: Server) -> None:
    """What landed joins to what the service answered, to the last bit, under the id that the caller gave; also after a stop
    right behind the last answer."""
    daemon = make_daemon(flush_interval=0.3, codec="none").start()
    app = f"{server.framework}_app.py"
    shutil.copy(EXAMPLES / app, daemon.folder / app)
    shutil.copy(service.SCORE, daemon.folder / "score.py")
    variables = service.deploy(daemon.folder, daemon) | {"PYTHONPATH": str(service.SHIMS)}
    asked = service.requests(60)
    with serving(server, python, daemon.folder, "app", daemon, variables) as bind, ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda one: ask(bind, "/score", {"data": one[1]}, f"request {one[0]}"), enumerate(asked))
        )
    daemon.flush()
    joined = service.check(daemon.folder / "store", asked, answers)
    ids = joined.groupby("$aml_request_id")["$aml_dc_correlation_id"].nunique()
    assert dict(ids) == {f"request {at}": 1 for at in range(60)}


@pytest.mark.parametrize("server", [Server("flask", 2), Server("fastapi", 2)], ids=str)
def test_the_examples(make_daemon: MakeDaemon, python: Path, server: Server) -> None:
    """As they stand: each row comes back under the model's own names, with the answer that the service gave."""
    daemon = make_daemon(flush_interval=0.3, codec="none").start()
    data = load_diabetes(as_frame=True).data
    with serving(server, python, EXAMPLES, "app", daemon, {}) as bind:
        answers = [ask(bind, "/score", {"data": data[at : at + 7].to_numpy().tolist()}) for at in range(0, 70, 7)]
    daemon.flush()
    tables = {}
    for designation in ("inputs", "predictions"):
        [blob] = (daemon.folder / "store").glob(f"*/*/*/*/diabetes/default/{designation}/*/*/*/data.csv")
        exact = dict.fromkeys([*data.columns, "progression"], float)
        tables[designation] = pd.read_csv(blob, converters=exact)
    joined = tables["inputs"].merge(tables["predictions"], on=["$aml_dc_correlation_id", "$aml_dc_row"])
    landed = {tuple(row[data.columns]): row["progression"] for _, row in joined.iterrows()}
    said = [one for answer in answers for one in answer]
    assert landed == {tuple(row): one for row, one in zip(data[:70].to_numpy().tolist(), said, strict=True)}
