"""Serves score.py with Flask, whose requests are known without being told.

collectord serve &
gunicorn --pythonpath examples --workers 2 flask_app:app
"""

import flask
import score

app = flask.Flask(__name__)
score.init()


@app.post("/score")
def run():
    return score.run(flask.request.get_data(as_text=True))
