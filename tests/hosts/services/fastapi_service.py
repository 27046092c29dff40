import work
from collectord_client.middleware import ASGIMiddleware
from fastapi import FastAPI

app = FastAPI()
app.add_middleware(ASGIMiddleware)


@app.get("/{how}/{number}")
def score(how: str, number: int):
    return work.score(how, float(number))
