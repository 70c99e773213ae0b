"""Places of a lab: labgrid's own coordinator and exporters on loopback, real servers of SSH."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from labgrid_lab import free_port, running_lab

from shufflenet_deploy import transport
from shufflenet_deploy.errors import ConnectError, LeaseError, UsageError
from shufflenet_deploy.transport import Lab


@pytest.fixture(scope="module")
def standing(tmp_path_factory, running):
    """The lab of all tests here, each of which gives back what it took."""
    folder = tmp_path_factory.mktemp("lab")
    with (
        running(folder / "one") as one,
        running(folder / "two") as two,
        running_lab(folder / "lab", {"one": one, "two": two}) as place,
    ):
        yield place


@pytest.fixture
def lab(standing, monkeypatch):
    standing.start()
    standing.relays.clear()
    for name, value in standing.env.items():
        monkeypatch.setenv(name, value)
    return standing


class Waiting:
    """A second client, which queues in a thread."""

    def __init__(self, host):
        self.stages, self.entered, self.leave = [], threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._use, args=(host,))
        self.thread.start()

    def _use(self, host):
        with transport.connect(host, on_stage=self.stages.append) as link:
            self.host = link.host
            self.entered.set()
            self.leave.wait(60)

    def end(self):
        self.leave.set()
        self.thread.join(60)


def keeper_of(link):
    return link._lease._keeper


def keep_running(link):
    """Run programs for a while."""
    for _ in range(100):
        link.run(["sleep", "0.1"])


def test_a_place_is_lent_used_and_given_back(lab):
    with transport.connect("labgrid:one", name="pi") as link:
        assert (link.host, link.kind) == ("pi", "ssh")
        assert link.run(["echo", "hello"]).text == "hello\n"
        assert lab.held()[0] == "one"
        link.close()
        link.__enter__()
        assert link.run(["echo", "again"]).text == "again\n"
    assert not lab.held()
    assert not list((lab.folder / "state" / "labgrid-leases").iterdir())


def test_two_clients_contend_and_one_waits_its_turn(lab):
    with transport.connect("labgrid:one"):
        second = Waiting("labgrid:one")
        lab.await_(lambda: any("number 1 in the queue" in text for text in second.stages))
        assert "one held by" in second.stages[0]
        with pytest.raises(ConnectError, match="in use"):
            transport.connect("labgrid:one", lab=Lab(wait=False)).__enter__()
        # Tags leave the choice to the lab: the other board is free.
        with transport.connect("labgrid:lab=loopback") as other:
            assert other.host == "labgrid:two"
        assert not second.entered.is_set()
    assert second.entered.wait(30)
    second.end()
    assert not lab.held()


def test_a_killed_client_leaves_nothing_held(lab):
    program = (
        "import sys, time\nfrom shufflenet_deploy import transport\n"
        "with transport.connect('labgrid:two') as link:\n"
        "    print('held', flush=True)\n    time.sleep(100)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert client.stdout.readline() == "held\n"
    assert "two" in lab.held()
    client.kill()
    client.communicate()
    lab.await_(lambda: not lab.held())


def test_of_a_killed_keeper_too_once_somebody_comes_again(lab):
    with transport.connect("labgrid:one") as link:
        os.kill(keeper_of(link).pid, signal.SIGKILL)
        with pytest.raises(LeaseError, match="was killed"):
            keep_running(link)
    assert lab.held() != []
    stages = []
    with transport.connect("labgrid:one", on_stage=stages.append):
        pass
    assert any("gave back one" in text for text in stages)
    assert not lab.held()


def test_a_restarted_coordinator_is_told_again_whose_place_it_is(lab):
    stages = []
    with transport.connect("labgrid:one", on_stage=stages.append) as link:
        lab.coordinator.kill()
        lab.coordinator.communicate()
        lab.await_(lambda: any("is gone" in text for text in stages))
        assert link.run(["echo", "on"]).text == "on\n"
        for exporter in lab.exporters.values():
            exporter.kill()
            exporter.communicate()
        lab.start()
        lab.await_(lambda: any("is back" in text for text in stages))
        assert lab.held()[0] == "one"
        assert link.run(["echo", "on"]).text == "on\n"
    assert not lab.held()


def test_a_lost_exporter_does_not_end_a_measurement(lab):
    stages = []
    with transport.connect("labgrid:two", on_stage=stages.append) as link:
        lab.exporters["two"].kill()
        lab.exporters["two"].communicate()
        lab.await_(lambda: any("exporter-two of two is gone" in text for text in stages))
        assert link.run(["echo", "on"]).text == "on\n"
    assert not lab.held()
    with pytest.raises(UsageError, match="no NetworkService"):
        transport.connect("labgrid:two").__enter__()
    assert not lab.held()


def test_nothing_is_believed_that_ran_after_the_place_was_taken(lab):
    with transport.connect("labgrid:one") as link:
        lab.client("-p", "one", "release")
        with pytest.raises(LeaseError, match="taken from us"):
            keep_running(link)
    assert not lab.held()


def test_a_board_is_switched_on_before_and_off_afterwards(lab):
    with transport.connect("labgrid:two", lab=Lab(power_cycle=True)) as link:
        assert lab.relays == [("/1", "0"), ("/1", "1")]
        assert link.run(["true"]).exit_code == 0
    assert lab.relays[2:] == [("/1", "0")]
    assert not lab.held()


def test_what_its_user_holds_by_hand_is_used_and_stays_held(lab):
    lab.client("-p", "one", "acquire")
    with transport.connect("labgrid:one") as link:
        assert link.run(["true"]).exit_code == 0
    assert lab.held() == ["one"]
    lab.client("-p", "one", "release")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("labgrid:three", "its places are one, two"),
        ("labgrid:core=a99,lab=loopback", "no place core=a99,lab=loopback"),
    ],
)
def test_mistakes_are_the_users(lab, host, said):
    with pytest.raises(UsageError, match=said):
        transport.connect(host).__enter__()
    assert not lab.held()


def test_without_a_coordinator(monkeypatch, tmp_path):
    monkeypatch.setenv("SHUFFLENET_DEPLOY_STATE", str(tmp_path))
    absent = Lab(coordinator=f"127.0.0.1:{free_port()}")
    with pytest.raises(ConnectError, match="no labgrid coordinator answers"):
        transport.connect("labgrid:one", lab=absent).__enter__()
