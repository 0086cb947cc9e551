"""Names of datasets that the catalog and the pipelines agree on."""

INDEX = "{collection}-data.{task}__index"
FINDINGS = "{collection}-data.{task}__findings"
SPLIT = "{collection}__{task}__{split}"
SUITE = "{sequence}__{split}_suite"
CHECKPOINT = "{sequence}-{method}.checkpoint__{stage}__seed{seed}"
SCORES = "{sequence}-{method}.scores__{stage}__seed{seed}"
RESULTS = "{sequence}__results_{method}"
HEADLINE = "{sequence}-report.headline"
REPORT = "{sequence}-report.report"

