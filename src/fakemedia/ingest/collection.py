"""The settings of a collection: how its pictures are checked and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fakemedia.core.plugin import configure

Quarantined = Literal["unreadable", "empty", "duplicate", "near_duplicate", "leak", "near_leak", "source_leak",
                      "contradiction"]


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What the audit of a collection insists on."""

    strict: bool = False
    """Refuse the data for a warning, too; unreadable images are always refused unless they are left out."""
    quarantine: tuple[Quarantined, ...] = ()
    """Findings whose images are left out of training and evaluation; of a pair, the one in the earlier split."""
    shortcut_auc: float = 0.7
    """Warn if container facts alone tell real from fake with a cross-validated AUC above this."""
    imbalance: float = 2.0
    """Warn if a split has more than so many times as many images of one class as of the other."""


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """How the pictures of a collection are checked and kept."""

    source: Mapping[str, Any]
    """Name and settings of the source."""
    forge: Mapping[str, Any] | None = None
    """How the forge makes the pictures; None: it does not."""
    policy: str = "native"
    """`native`, `resize:<n>` or `jpeg:<q>`."""
    stream: bool = False
    """Keep no decoded pictures; decode files at every access."""
    max_gib: float | None = None
    """Largest size of the decoded pictures of the whole collection, GiB; None: what the disk holds."""
    families: Mapping[str, str] = field(default_factory=dict)
    """Family of the generator of each task, where it is known; the report compares the families. The forge knows its
    own."""
    audit: Mapping[str, Any] = field(default_factory=dict)
    """What the audit insists on; see `AuditConfig`."""

    @property
    def audit_config(self) -> AuditConfig:
        """The checked settings of the audit; UserError if they cannot be used."""
        return configure(AuditConfig, self.audit, where="audit of the collection")


def collection_config(settings: Mapping[str, Any], *, where: str) -> CollectionConfig:
    """Return the checked settings of a collection; UserError for an unknown key or a value of the wrong type."""
    return configure(CollectionConfig, settings, where=where)
