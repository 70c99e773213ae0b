"""Notes on leased places: those of the living are left alone, those of the dead are found."""

from __future__ import annotations

from shufflenet_deploy.transport.lab.leftovers import HeldPlace, Note, of_the_dead


def held(owner, coordinator="lab:1"):
    return HeldPlace(coordinator=coordinator, place="pi", owner=f"{owner}/anna")


def test_only_notes_of_the_dead_at_this_coordinator_are_found(tmp_path):
    living, dead, elsewhere = (
        Note(tmp_path, held("living")),
        Note(tmp_path, held("dead")),
        Note(tmp_path, held("elsewhere", "other:1")),
    )
    (tmp_path / "damaged.json").write_text("{")
    dead._file.close()
    elsewhere._file.close()
    with of_the_dead(tmp_path, "lab:1") as found:
        assert [one.owner for one, _ in found] == ["dead/anna"]
        with of_the_dead(tmp_path, "lab:1") as by_another:
            assert by_another == []
    living.forget()
    assert not (tmp_path / "living-anna.json").exists()


def test_without_a_folder_there_is_nobody(tmp_path):
    with of_the_dead(tmp_path / "absent", "lab:1") as found:
        assert found == []
