"""What the log of scored pictures shows: statistics of drift, alarms, clusters of unknown pictures."""
