"""A scoring script as Azure ML runs it: `init()` once, `run(raw_data)` for each request.

Only the lines with `collect` have to do with collectord.
"""

import json
import os

import numpy as np
from collectord_client import Client
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge


def init():
    global model, inputs_dc, prediction_dc
    data = load_diabetes()
    model = Ridge(alpha=0.1).fit(data.data, data.target)
    client = Client(
        model="diabetes",
        version="1",
        webservice="demo",
        workspace="my-subscription/my-group/my-workspace",
        endpoint=os.environ.get("COLLECTORD_ENDPOINT"),
    )
    inputs_dc = client.collector("inputs", feature_names=data.feature_names)
    prediction_dc = client.collector("predictions", feature_names=["progression"])
    return client


def run(raw_data):
    try:
        data = np.array(json.loads(raw_data)["data"])
        result = model.predict(data)
        context = inputs_dc.collect(data)  # this call is saving our input data
        prediction_dc.collect(result, context=context)  # this call is saving our prediction data
        return result.tolist()
    except Exception as error:  # noqa: BLE001
        return str(error)
