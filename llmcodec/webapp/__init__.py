"""`llmcodec serve`: one codec and one frozen language model behind an HTTP API and a page."""

from llmcodec.webapp.limits import Limits
from llmcodec.webapp.pool import Busy, Cancelled, Job, TimedOut
from llmcodec.webapp.service import Prediction, Reason, Service, TooLong

__all__ = ["Busy", "Cancelled", "Job", "Limits", "Prediction", "Reason", "Service", "TimedOut", "TooLong"]
