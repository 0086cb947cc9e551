"""Names of datasets that the catalog and the pipelines agree on."""

SOURCE = "{collection}__source"
INDEX = "{collection}__{task}__index"
FINDINGS = "{collection}__{task}__findings"
SPLIT = "{collection}__{task}__{split}"
SUITE = "{sequence}__{split}_suite"
CHECKPOINT = "{sequence}-{method}.checkpoint__{stage}__seed{seed}"
SCORES = "{sequence}-{method}.scores__{stage}__seed{seed}"
RESULTS = "{sequence}__results_{method}"
MATRIX = "{sequence}__matrix_{method}"

