"""Reports: a run, or several side by side, as one HTML file that needs nothing else to be looked at."""

from cifar_edge.report.page import report_page
from cifar_edge.report.subject import Subject, Tested, classify, subject_of

__all__ = ["Subject", "Tested", "classify", "report_page", "subject_of"]
