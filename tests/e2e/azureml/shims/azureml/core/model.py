"""As much of azureml-core as the scripts need: it is another distribution's part of `azureml`."""

import os


class Model:
    @staticmethod
    def get_model_path(model_name: str) -> str:
        return os.path.join(os.environ["AZUREML_MODEL_DIR"], model_name)  # noqa: PTH118
