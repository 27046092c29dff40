"""A scoring script as the v2 SDK's documentation has it, with a model in the place of its dots."""

import json
import os

import joblib
import pandas as pd
from azureml.ai.monitoring import Collector


def init():
    global model, inputs_collector, outputs_collector
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "sklearn_regression_model.pkl"))  # noqa: PTH118

    # instantiate collectors with appropriate names, make sure align with deployment spec
    inputs_collector = Collector(name="model_inputs")
    outputs_collector = Collector(name="model_outputs")


def run(data):
    # json data: { "data" : {  "col1": [1,2,3], "col2": [2,3,4] } }
    pdf_data = preprocess(json.loads(data))

    # tabular data: {  "col1": [1,2,3], "col2": [2,3,4] }
    input_df = pd.DataFrame(pdf_data)

    # collect inputs data, store correlation_context
    context = inputs_collector.collect(input_df)

    # perform scoring with pandas Dataframe, return value is also pandas Dataframe
    output_df = predict(input_df)

    # collect outputs data, pass in correlation_context so inputs and outputs data can be correlated later
    outputs_collector.collect(output_df, context)

    return output_df.values.tolist()


def preprocess(json_data):
    return json_data["data"]


def predict(input_df):
    return pd.DataFrame(model.predict(input_df.to_numpy()), columns=["prediction1", "prediction2"])
