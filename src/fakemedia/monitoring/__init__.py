"""Monitoring of the log of scored pictures: statistics of drift, alarms, clusters of unknown pictures."""
