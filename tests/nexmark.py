"""An online auction: people, auctions and bids from a generator of our own, and the queries of NEXMark over them.

The queries follow the published benchmark (Tucker, Tufte, Papadimos, Maier, "NEXMark: a benchmark for queries over data
streams", 2002, and its later numbers up to 22); each is written once, as a relation over all events. Left out are those
that are no relations over event time: q10 (files) and q12 (the time of processing). Where a winner has to be picked,
more money wins, then the earlier bid, then the lower bidder, then the lower channel.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import ibis
import pyarrow as pa

import gristmill as gm

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
STATES = ("OR", "ID", "CA", "WA", "AZ", "NY")
CHANNELS = ("apple", "google", "facebook", "baidu", "other")
TYPES: dict[str, dict[str, str]] = {
    "person": {"id": "int64", "name": "string", "city": "string", "state": "string", "at": "timestamp"},
    "auction": {
        **{"id": "int64", "seller": "int64", "category": "int64", "initial": "int64", "reserve": "int64"},
        **{"expires": "timestamp", "at": "timestamp"},
    },
    "bid": {
        **{"auction": "int64", "bidder": "int64", "price": "int64", "channel": "string", "url": "string"},
        "at": "timestamp",
    },
}
Event = tuple[str, dict[str, object]]


def events(count: int, *, seed: int = 0) -> list[Event]:
    """Return events in the order of their time: of 50 one is a person, three are auctions, the rest are bids."""
    rng = random.Random(seed)
    found: list[Event] = []
    people = auctions = 0
    for number in range(count):
        at = START + dt.timedelta(milliseconds=number * 100 + rng.randrange(90))
        kind = number % 50
        if kind == 0:
            people += 1
            row = {"id": people, "name": f"p{people % 7}", "city": f"c{people % 5}", "state": rng.choice(STATES)}
            found.append(("person", {**row, "at": _text(at)}))
        elif kind < 4:
            auctions += 1
            ends = at + dt.timedelta(seconds=rng.randrange(2, 40))
            row = {"id": auctions, "seller": rng.randint(max(1, people - 9), people), "category": rng.randint(10, 14)}
            more = {"initial": rng.randrange(100), "reserve": rng.randrange(1000), "expires": _text(ends)}
            found.append(("auction", {**row, **more, "at": _text(at)}))
        else:
            hot = rng.random() < 0.5
            on = auctions if hot else rng.randint(max(1, auctions - 20), auctions)
            channel = rng.choice(CHANNELS)
            who = {"auction": on, "bidder": rng.randint(max(1, people - 20), people), "price": rng.randrange(1, 5_000)}
            url = f"https://auction.example/{channel}/item/{on}"
            found.append(("bid", {**who, "channel": channel, "url": url, "at": _text(at)}))
    return found


def _text(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def disordered(found: Sequence[Event], *, seed: int, reach: int = 200) -> list[Event]:
    """Return the same events, each up to so many places from its own, and one in twenty anywhere after."""
    rng = random.Random(seed)
    places = []
    for number in range(len(found)):
        far = rng.random() < 0.05
        places.append(number + (rng.uniform(0, len(found)) if far else rng.uniform(-reach, reach)))
    return [found[number] for number in sorted(range(len(found)), key=places.__getitem__)]


def deliver(root: Path, part: Iterable[Event], *, name: str = "0") -> None:
    """Add events to the files that the sources follow."""
    lines: dict[str, list[str]] = {}
    for kind, row in part:
        lines.setdefault(kind, []).append(json.dumps(row) + "\n")
    for kind, texts in lines.items():
        path = root / "in" / kind / f"{name}.ndjson"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.writelines(texts)


def nexmark_project(root: Path, settings: str = "[run]\nworkers = 1\n") -> gm.Project:
    """Return a project with three growing sources and a table per query."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "gristmill.toml").write_text(settings)
    project = gm.Project(root)
    for kind, types in TYPES.items():
        event_time = gm.event_time("at", bound="30s", ahead="36500d")
        project.source(f"raw.{kind}", gm.tail(f"in/{kind}/*.ndjson", types=types), event_time=event_time)
    project.source("raw.side", gm.frame(pa.table({"number": range(100), "text": [f"side {n}" for n in range(100)]})))
    for name, (reads, query) in QUERIES.items():
        project.table(f"q.{name}", reads=[f"raw.{kind}" for kind in reads])(_over_plain(query, len(reads)))
    return project


def _over_plain(query: Callable[..., ibis.Table], tables: int) -> Callable[..., ibis.Table]:
    def of_one(one: ibis.Table) -> ibis.Table:
        return query(plain(one))

    def of_two(one: ibis.Table, two: ibis.Table) -> ibis.Table:
        return query(plain(one), plain(two))

    return of_one if tables == 1 else of_two


def plain(table: ibis.Table) -> ibis.Table:
    """Return a source's table with times without a zone."""
    times = {name: "timestamp" for name, dtype in table.schema().items() if dtype.is_timestamp()}
    return table.cast(times)


def digests(project: gm.Project) -> dict[str, str]:
    """Return the digest of every query's table."""
    snapshot = project.store.snapshot("main")
    return {name: snapshot.digest(f"q.{name}") for name in QUERIES}


# -- the queries -------------------------------------------------------------------------------------------


def _window(at: ibis.Value, seconds: int) -> ibis.Value:
    return at.epoch_seconds() // seconds


def q0(bid: ibis.Table) -> ibis.Table:
    """All bids."""
    return bid.select("auction", "bidder", "price", "at")


def q1(bid: ibis.Table) -> ibis.Table:
    """Prices in another currency."""
    return bid.select("auction", "bidder", "at", euro=bid.price * 0.908)


def q2(bid: ibis.Table) -> ibis.Table:
    """Bids on some auctions."""
    return bid.filter(bid.auction % 11 == 0).select("auction", "price")


def q3(auction: ibis.Table, person: ibis.Table) -> ibis.Table:
    """What people of some states sell in one category."""
    local = person.filter(person.state.isin(["OR", "ID", "CA"])).select("name", "city", "state", seller="id")
    return auction.filter(auction.category == 10).join(local, "seller").select("name", "city", "state", "id")


def winning(auction: ibis.Table, bid: ibis.Table) -> ibis.Table:
    """Each auction with the bid that won it while it was open."""
    one = auction.select("id", "seller", "category", "expires", opened="at")
    open_bids = one.join(bid, one.id == bid.auction).filter(lambda t: (t.at >= t.opened) & (t.at <= t.expires))
    order = [open_bids.price.desc(), open_bids["at"], open_bids.bidder, open_bids.channel]
    place = ibis.row_number().over(ibis.window(group_by="id", order_by=order))
    ranked = open_bids.select("id", "seller", "category", "expires", "bidder", "price", "at", place=place)
    return ranked.filter(ranked.place == 0).drop("place")


def q4(auction: ibis.Table, bid: ibis.Table) -> ibis.Table:
    """The mean closing price of each category."""
    return winning(auction, bid).group_by("category").agg(price=lambda t: t.price.mean())


def q5(bid: ibis.Table) -> ibis.Table:
    """In each window of ten seconds, every two seconds, the auctions with the most bids."""
    steps = ibis.array([ibis.literal(step, "int64") for step in range(5)])
    hops = bid.select("auction", step=steps, slot=_window(bid["at"], 2)).unnest("step")
    counts = hops.group_by(window=hops.slot - hops.step, auction=hops.auction).agg(n=hops.count())
    most = counts.group_by("window").agg(most=counts.n.max())
    return counts.join(most, "window").filter(lambda t: t.n == t.most).select("window", "auction", "n")


def q6(auction: ibis.Table, bid: ibis.Table) -> ibis.Table:
    """The mean of each seller's last ten closing prices."""
    won = winning(auction, bid)
    last = ibis.window(group_by="seller", order_by=[won.expires, won.id], preceding=9, following=0)
    return won.select("seller", "id", mean=won.price.sum().over(last) / won.price.count().over(last))


def q7(bid: ibis.Table) -> ibis.Table:
    """The highest bids of every ten seconds."""
    slots = bid.select("auction", "bidder", "price", "at", slot=_window(bid["at"], 10))
    most = slots.group_by("slot").agg(most=slots.price.max())
    return slots.join(most, ["slot"]).filter(lambda t: t.price == t.most).drop("most")


def q8(person: ibis.Table, auction: ibis.Table) -> ibis.Table:
    """People who sold something within the ten seconds in which they came."""
    new = person.select("id", "name", slot=_window(person["at"], 10))
    sold = auction.select("seller", slot=_window(auction["at"], 10)).distinct()
    return new.join(sold, [new.id == sold.seller, new.slot == sold.slot]).select("id", "name", "slot")


def q11(bid: ibis.Table) -> ibis.Table:
    """Sessions of bidders, who are gone after ten seconds without a bid."""
    by = ibis.window(group_by="bidder", order_by="at")
    before = bid["at"].lag().over(by)
    marked = bid.select("bidder", "at", fresh=before.isnull() | (bid["at"] > before + ibis.interval(seconds=10)))
    running = ibis.cumulative_window(group_by="bidder", order_by="at")
    named = marked.mutate(session=marked.fresh.cast("int64").sum().over(running))
    return named.group_by("bidder", "session").agg(n=named.count(), since=named["at"].min(), till=named["at"].max())


def q13(bid: ibis.Table, side: ibis.Table) -> ibis.Table:
    """Bids with what another table, which does not change, has of their auction."""
    numbered = bid.mutate(number=bid.auction % 100)
    return numbered.join(side, "number").select("auction", "bidder", "price", "at", "text")


def q14(bid: ibis.Table) -> ibis.Table:
    """Bids in a range of prices, by the time of day."""
    hour = bid["at"].hour()
    kind = ibis.cases(((hour >= 8) & (hour <= 18), "day"), ((hour <= 6) | (hour >= 20), "night"), else_="other")
    some = bid.mutate(kind=kind, cs=bid.url.length() - bid.url.replace("c", "").length())
    return some.filter((some.price > 1_000) & (some.price < 4_000)).select("auction", "price", "kind", "cs")


def q15(bid: ibis.Table) -> ibis.Table:
    """Bids, bidders and auctions of each day, by price."""
    low = bid.price < 1_000
    day = bid.group_by(day=bid["at"].truncate("D"))
    return day.agg(
        bids=bid.count(),
        low=bid.count(where=low),
        bidders=bid.bidder.nunique(),
        low_bidders=bid.bidder.nunique(where=low),
        auctions=bid.auction.nunique(),
    )


def q16(bid: ibis.Table) -> ibis.Table:
    """What every channel's bids of a day are like, by price, and when the last of them was."""
    low, high = bid.price < 1_000, bid.price >= 4_000
    return bid.group_by("channel", day=bid["at"].truncate("D")).agg(
        last=bid["at"].max(),
        bids=bid.count(),
        low=bid.count(where=low),
        high=bid.count(where=high),
        bidders=bid.bidder.nunique(),
        low_bidders=bid.bidder.nunique(where=low),
        auctions=bid.auction.nunique(),
        high_auctions=bid.auction.nunique(where=high),
    )


def q17(bid: ibis.Table) -> ibis.Table:
    """What every auction's bids of a day are like."""
    return bid.group_by("auction", day=bid["at"].truncate("D")).agg(
        n=bid.count(), low=bid.price.min(), high=bid.price.max(), mean=bid.price.mean(), total=bid.price.sum()
    )


def q18(bid: ibis.Table) -> ibis.Table:
    """The last bid of each bidder on each auction."""
    order = [bid["at"].desc(), bid.price.desc(), bid.channel]
    place = ibis.row_number().over(ibis.window(group_by=["bidder", "auction"], order_by=order))
    return bid.mutate(place=place).filter(lambda t: t.place == 0).drop("place")


def q19(bid: ibis.Table) -> ibis.Table:
    """The ten highest bids of each auction."""
    order = [bid.price.desc(), bid["at"], bid.bidder, bid.channel]
    place = ibis.row_number().over(ibis.window(group_by="auction", order_by=order))
    return bid.mutate(place=place).filter(lambda t: t.place < 10)


def q20(bid: ibis.Table, auction: ibis.Table) -> ibis.Table:
    """Bids with their auction, of one category."""
    some = auction.filter(auction.category == 10).select("seller", "category", auction="id")
    return bid.join(some, "auction").select("auction", "bidder", "price", "seller", "category")


def q21(bid: ibis.Table) -> ibis.Table:
    """A number for each bid's channel: known ones have their own, others that of their address."""
    known = ibis.cases(
        *((bid.channel == name, str(n)) for n, name in enumerate(CHANNELS[:4])), else_=ibis.null("string")
    )
    number = ibis.coalesce(known, bid.url.re_extract(r"(?:/item/)([0-9]+)", 1))
    return bid.select("auction", "bidder", "price", "channel", number=number).filter(lambda t: t.number != "")


def q22(bid: ibis.Table) -> ibis.Table:
    """The folders of each bid's address."""
    parts = bid.url.split("/")
    return bid.select("auction", "bidder", "price", one=parts[3], two=parts[4], three=parts[5])


QUERIES = {
    **{"q0": (("bid",), q0), "q1": (("bid",), q1), "q2": (("bid",), q2), "q3": (("auction", "person"), q3)},
    **{"q4": (("auction", "bid"), q4), "q5": (("bid",), q5), "q6": (("auction", "bid"), q6), "q7": (("bid",), q7)},
    **{"q8": (("person", "auction"), q8), "q9": (("auction", "bid"), winning), "q11": (("bid",), q11)},
    **{"q13": (("bid", "side"), q13), "q16": (("bid",), q16), "q21": (("bid",), q21)},
    **{"q14": (("bid",), q14), "q15": (("bid",), q15), "q17": (("bid",), q17), "q18": (("bid",), q18)},
    **{"q19": (("bid",), q19), "q20": (("bid", "auction"), q20), "q22": (("bid",), q22)},
}
