"""Renderings that many share: the same bytes as in one go, never older than asked for, and lost with nobody."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest

from sharedip.adapters.api.rendering import AGE_S_MAX, Renderings, json_bytes, json_in_steps
from sharedip.core.status import Status
from sharedip.core.steps import Steps, to_the_end
from tests.stages.scenes import run
from tests.unit.adapters.api.api_stage import problem, status, vip


def test_in_steps_it_is_the_same_json() -> None:
    document = status(vips=[vip(), vip(address="10.0.0.1", reason="ü \ud800")], problems=[problem()], places=[])
    assert to_the_end(json_in_steps(document)) == json_bytes(document) + b"\n"
    assert json.loads(json_bytes(document))["vips"][1]["reason"] == "ü ?"


def test_who_leaves_takes_it_from_nobody() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        begun = 0

        def document() -> Steps[Status]:
            nonlocal begun
            begun += 1
            while not gate.is_set():
                yield
            return status()

        renderings = Renderings(document)
        leaving = asyncio.ensure_future(renderings.json.get(AGE_S_MAX))
        staying = asyncio.ensure_future(renderings.json.get(AGE_S_MAX))
        await asyncio.sleep(0)
        leaving.cancel()
        gate.set()
        assert json.loads(await staying)["node"] == "n1"
        assert begun == 1
        renderings.close()

    run(scene())


def test_who_wants_what_is_gets_one_that_was_begun_after_he_asked() -> None:
    async def scene() -> None:
        numbers = iter(range(10))

        def document() -> Steps[Status]:
            number = next(numbers)
            yield
            return cast(Status, {"number": number, "state": "ready", "detail": "", "problems": []})

        renderings = Renderings(document)
        assert json.loads(await renderings.json.get(0.0)) | {"number": 0} == json.loads(await renderings.json.get(1.0))
        assert json.loads(await renderings.json.get(0.0))["number"] == 1
        three = await asyncio.gather(*(renderings.json.get(0.0) for _ in range(3)))
        assert three[0] != three[1], "the first one's was begun before the second asked"
        assert three[1] == three[2]
        renderings.close()

    run(scene())


def test_a_document_that_fails_fails_who_asked_and_not_the_next() -> None:
    async def scene() -> None:
        fails = [True]

        def document() -> Steps[Status]:
            yield
            if fails.pop() if fails else False:
                raise KeyError("a bug")
            return status()

        renderings = Renderings(document)
        with pytest.raises(KeyError):
            await renderings.json.get(0.0)
        assert await renderings.json.get(0.0)
        renderings.close()

    run(scene())
