"""The settings of a collection: how its pictures are checked and stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fakemedia.core.plugin import configure
from fakemedia.store.faces import Detector

Quarantined = Literal["unreadable", "empty", "duplicate", "near_duplicate", "leak", "near_leak", "source_leak",
                      "contradiction", "sheet"]


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Requirements of the audit of a collection."""

    strict: bool = False
    """Refuse the data for warnings too; unreadable images are always refused unless they are left out."""
    quarantine: tuple[Quarantined, ...] = ()
    """Findings whose images are left out of training and evaluation; of a pair, the one in the earlier split."""
    shortcut_auc: float = 0.7
    """Warn if container facts alone separate real from fake with a cross-validated AUC above this."""
    imbalance: float = 2.0
    """Warn if a split has more than this many times as many images of one class as of the other."""


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """How the pictures of a collection are checked and stored."""

    source: Mapping[str, Any]
    """Name and settings of the source."""
    forge: Mapping[str, Any] | None = None
    """How the forge makes the pictures; None: they are not forged."""
    policy: str = "native"
    """`native`, `resize:<n>` or `jpeg:<q>`."""
    stream: bool = False
    """Store no decoded pictures; decode files at every access."""
    max_gib: float | None = None
    """Largest size of the decoded pictures of the collection, GiB; None: no limit but the disk."""
    families: Mapping[str, str] = field(default_factory=dict)
    """Family of the generator of each task, if known; the report compares the families. Forged tasks have
    theirs."""
    cut_sheets: bool = False
    """Cut sample sheets, grids of equal tiles, into their tiles, which share the sheet as source photograph."""
    faces: bool | Detector = False
    """Crop each picture to its largest face, found by `frontal` (true means this) or, with the extra `faces`, `mtcnn`;
    pictures without a face are noted and left out."""
    audit: Mapping[str, Any] = field(default_factory=dict)
    """Requirements of the audit; see `AuditConfig`."""

    @property
    def detector(self) -> Detector | None:
        """The detector of faces; None: pictures are not cropped."""
        return "frontal" if self.faces is True else self.faces or None

    @property
    def audit_config(self) -> AuditConfig:
        """The checked settings of the audit; UserError if they cannot be used."""
        return configure(AuditConfig, self.audit, where="audit of the collection")


def collection_config(settings: Mapping[str, Any], *, where: str) -> CollectionConfig:
    """Return the checked settings of a collection; UserError for an unknown key or a value of the wrong type."""
    return configure(CollectionConfig, settings, where=where)
