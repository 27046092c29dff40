# %% [markdown]
# # What the model said last week
#
# A model scores a few requests, its inputs and predictions land as CSV, and pandas puts them together again: row by row,
# with every digit that the model said. Runs as a script too: `python examples/notebook.py`.

# %%
import atexit
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from azureml.monitoring import ModelDataCollector
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor

# %% [markdown]
# A daemon of our own, which writes to a folder. In production there is one on every node, and its store is a container of
# Azure Blob Storage.

# %%
folder = Path(tempfile.mkdtemp(prefix="collectord-"))
socket, spool, store = folder / "c.sock", folder / "spool", folder / "store"
collectord = [sys.executable, "-m", "collectord"]
daemon = subprocess.Popen([*collectord, "serve", "--listen", f"unix:{socket}", "--spool", spool, "--store", store])
atexit.register(daemon.terminate)
os.environ["COLLECTORD_ENDPOINT"] = f"unix:{socket}"

# %% [markdown]
# The model, and a collector for each side of it. The inputs are called what the model calls them.

# %%
data, target = load_diabetes(return_X_y=True, as_frame=True)
model = RandomForestRegressor(20, max_depth=6, random_state=0).fit(data, target)
names = {"workspace": "sub/group/workspace", "webservice_name": "notebook", "model_version": "1"}
inputs = ModelDataCollector("diabetes", designation="inputs", feature_names=model, **names)
predictions = ModelDataCollector("diabetes", designation="predictions", feature_names=["progression"], **names)

# %% [markdown]
# Scoring: the data is numbers without names, as it comes in a request, and the two calls need no ids.

# %%
for start in range(0, len(data), 50):
    request = data[start : start + 50]
    inputs.collect(request.to_numpy())
    predictions.collect(model.predict(request))

# %% [markdown]
# The client sends in the background and the daemon uploads once a minute. Who cannot wait says so to both.

# %%
assert predictions.flush(), predictions.stats()
subprocess.run([*collectord, "flush", "--spool", spool], check=True)


# %% [markdown]
# Each designation of a model has one blob a day.

# %%
exact = {} if pd.__version__ >= "3" else {"float_precision": "round_trip"}  # pandas 3 is exact by itself


def table(designation):
    blobs = sorted(store.glob(f"sub/group/workspace/notebook/diabetes/1/{designation}/*/*/*/data.csv.zst"))
    return pd.concat([pd.read_csv(blob, **exact) for blob in blobs])


joined = table("inputs").merge(
    table("predictions")[["$aml_dc_correlation_id", "$aml_dc_row", "progression"]],
    on=["$aml_dc_correlation_id", "$aml_dc_row"], validate="one_to_one",
)  # fmt: skip
joined[["age", "bmi", "progression", "$aml_dc_correlation_id", "$aml_dc_row"]].head()

# %% [markdown]
# The model says the same again, exactly.

# %%
same = joined["progression"] == model.predict(joined[data.columns])
print(f"{same.sum()} of {len(data)} predictions reproduced from what landed")
