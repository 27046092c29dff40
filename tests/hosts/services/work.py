"""What a service does in one request, in the ways that services do it. Each returns the ids that it collected under."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from azureml.monitoring import ModelDataCollector

ID = "$aml_dc_correlation_id"

pool = ThreadPoolExecutor(2)


class Model:
    def __init__(self, name):
        self.inputs = ModelDataCollector(name, designation="inputs", feature_names=["number"])
        self.predictions = ModelDataCollector(name, designation="predictions", feature_names=["double"])

    def see(self, number):
        return self.inputs.collect(np.array([[number]]))

    def say(self, number, **named):
        return self.predictions.collect(np.array([2 * number]), **named)


one, other = Model("one"), Model("other")


def both(number):
    return [one.see(number)[ID], one.say(number)[ID]]


def two(number):
    """Two models, the predictions in the opposite order."""
    seen = [one.see(number)[ID], other.see(number)[ID]]
    said = other.say(number)[ID]
    return [*seen, one.say(number)[ID], said]


def broken(number):
    """The model fails between the two calls."""
    return [one.see(number)[ID]]


def alone(number):
    """A prediction without inputs, on a thread that has had some."""
    return [one.say(number)[ID]]


def copied(number):
    """The model runs on a thread that was given the request's context."""
    seen = one.see(number)[ID]
    return [seen, pool.submit(contextvars.copy_context().run, one.say, number).result()[ID]]


def given(number):
    """The model runs on a thread that was given nothing but the correlations."""
    seen = one.see(number)
    return [seen[ID], pool.submit(one.say, number, correlations=seen).result()[ID]]


def bare(number):
    """The model runs on a thread that knows of no request."""
    seen = one.see(number)[ID]
    return [seen, pool.submit(one.say, number).result()[ID]]


def inside(number):
    """All of the work is done on a thread that knows of no request."""
    return pool.submit(both, number).result()


def score(how, number):
    return globals()[how](number)
