"""A scoring script as Azure ML runs it: `init()` once, `run(raw_data)` for each request. The apps beside it serve it."""

import json

import pandas as pd
from azureml.monitoring import ModelDataCollector
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor


def init():
    global model, inputs_dc, prediction_dc
    data, target = load_diabetes(return_X_y=True, as_frame=True)
    model = RandomForestRegressor(20, max_depth=6, random_state=0).fit(data, target)
    inputs_dc = ModelDataCollector("diabetes", designation="inputs", feature_names=model)
    prediction_dc = ModelDataCollector("diabetes", designation="predictions", feature_names=["progression"])


def run(raw_data):
    data = pd.DataFrame(json.loads(raw_data)["data"], columns=model.feature_names_in_)
    result = model.predict(data)
    inputs_dc.collect(data)
    prediction_dc.collect(result)
    return result.tolist()
