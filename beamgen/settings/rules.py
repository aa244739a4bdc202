"""Whose rules a search follows: ``generate`` changed its mind within transformers 5.

A file keeps the rules that it was written with. Each difference has a name here, and
what builds a graph or reads a checkpoint's settings is told the rules; only
``installed_rules`` looks at what is installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib import metadata

from beamgen.errors import MissingExtraError, RulesError, close_matches

#: Of transformers, as (major, minor): those that beamgen is tested with.
TESTED = ((4, 57), (5, 24))


@dataclass(frozen=True)
class Rules:
    """What ``generate`` does where its releases differ; all else is the same in them.

    Attributes:
        release: the first one of transformers with these rules.
        null_is_default: a null in a ``generation_config.json`` is HF's default of the
            field; before, it turned a warper off. Since 5.0.
        twenty_counts_prompt: a ``max_length`` of 20 in a checkpoint's file is a length like
            any other, which counts the prompt; before, it was taken for HF's own default,
            which counts new tokens. Since 5.0.
        bias_reaches_back: a biased or bad sequence may begin with the first id of the
            prompt; before, one that was a token longer than the prompt was passed over.
            Since 5.18.
        constraint_wins: where bans leave none of a constraint's tokens to any beam, the
            constraint's come nevertheless. Since 5.18.
        penalty_spares_padding: the repetition penalty passes over left padding. Since 5.23.
        penalty_reaches_beams: the penalty of an encoder's ids, ``encoder_repetition_penalty``,
            is for all beams of a row; before, it was for the first rows of a batch, whichever
            they were. Since 5.20, which no rules begin with, so from 5.23 on.
        draws_are_sorted: beam sampling puts what it drew in the order of the scores, of
            which only the first ``num_beams`` may end; before, these were the first that
            were drawn. Since 5.24.
        chains_share_constraint: of the independent sequences that one beam samples, all of
            a row are asked whether a constraint left them anything; before, each of them.
            Since 5.24.
    """

    release: str
    null_is_default: bool = False
    twenty_counts_prompt: bool = False
    bias_reaches_back: bool = False
    constraint_wins: bool = False
    penalty_spares_padding: bool = False
    penalty_reaches_beams: bool = False
    draws_are_sorted: bool = False
    chains_share_constraint: bool = False


_OF_4_57 = Rules("4.57")
_OF_5_18 = Rules(
    "5.18",
    null_is_default=True,
    twenty_counts_prompt=True,
    bias_reaches_back=True,
    constraint_wins=True,
)
_OF_5_23 = replace(
    _OF_5_18, release="5.23", penalty_spares_padding=True, penalty_reaches_beams=True
)
_OF_5_24 = replace(_OF_5_23, release="5.24", draws_are_sorted=True, chains_share_constraint=True)

#: All rules by the release that they begin with, the oldest first.
RULES = {rules.release: rules for rules in (_OF_4_57, _OF_5_18, _OF_5_23, _OF_5_24)}

#: Those of packages that do not say: beamgen 0.1 knew no others.
UNSAID = RULES["4.57"]


def rules_named(release: str) -> Rules:
    """The rules that begin with a release of transformers.

    Raises:
        RulesError: there are none of that name.
    """
    if release not in RULES:
        raise RulesError(
            f"no rules of generate begin with transformers '{release}'",
            close_matches(release, RULES) or f"there are those of {', '.join(RULES)}",
        )
    return RULES[release]


def installed_rules() -> Rules:
    """The rules of the transformers that is installed.

    Raises:
        MissingExtraError: it is not.
        RulesError: beamgen was not tested with that release.
    """
    try:
        version = metadata.version("transformers")
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError("asking transformers", "export", "transformers") from error
    release = _parts(version)
    if release not in TESTED:
        tested = " and ".join(f"{major}.{minor}" for major, minor in TESTED)
        newest = ".".join(map(str, TESTED[-1]))
        raise RulesError(
            f"transformers {version} is installed; beamgen is tested with {tested} only, "
            "and the rules of generate differ in between",
            f"pip install 'transformers=={newest}.*'",
        )
    return [rules for rules in RULES.values() if _parts(rules.release) <= release][-1]


def check_comparable(rules: Rules, cure: str | None = None) -> None:
    """Refuse to compare a search with a transformers that follows other rules.

    Args:
        rules: the search's.
        cure: what to do, where it is not to compare in another environment.

    Raises:
        RulesError: they differ.
        MissingExtraError: transformers is not installed.
    """
    if rules == installed_rules():
        return
    if cure is None and _parts(rules.release) in TESTED:
        package = f"transformers=={rules.release}.*"
        cure = f"in an environment of its own: pip install 'beamgen[export]' '{package}'"
    raise RulesError(
        f"the search follows the rules of transformers {rules.release}, and "
        f"{metadata.version('transformers')} is installed, which has others",
        cure or "export the checkpoint again without --rules",
    )


def _parts(version: str) -> tuple[int, ...]:
    """Major and minor."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
