"""The face of Azure ML's SDKs in front of collectord: scoring scripts that were written for them need no change.

`ModelDataCollector` is that of `azureml-monitoring` (v1), `Collector` that of `azureml-ai-monitoring` (v2). The
distributions `collectord-azureml` and `collectord-azureml-ai` re-export them under the names that scripts import.
`Webservice` switches a deployed service as azureml-core's does. `enable_app_insights()` has a script's prints, logs and
requests told.
`python -m collectord_client.azureml` tells what they would do here.
"""

from .collector import ModelDataCollector
from .insights import enable_app_insights
from .v2 import Collector
from .webservice import AciWebservice, AksWebservice, Webservice

__all__ = ["AciWebservice", "AksWebservice", "Collector", "ModelDataCollector", "Webservice", "enable_app_insights"]
