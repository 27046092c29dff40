import flask
import work

app = flask.Flask(__name__)


@app.get("/<how>/<int:number>")
def score(how, number):
    return work.score(how, float(number))
