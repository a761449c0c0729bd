"""What remembered scenes say to captions: statements, denials, own normality, and memories that agree."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.scenes.memory import SAYS_NOTHING_SCORE, SceneMemory, SceneScores
from anomalist.memory.scenes.scene import RememberedScene
from anomalist.memory.scenes.scene_index import SceneScoringConfig
from tests.memory.scenes.scene_cases import LetterPairEncoder, scene

WALKERS = " ".join(
    f"The {n} person is walking along a path." for n in ("first", "second", "third", "fourth", "fifth")
)
CROWD = f"There are twelve people. {WALKERS} The sixth person is riding a bicycle. {WALKERS}"


@pytest.fixture(scope="module")
def memory(encoder: SentenceEncoder) -> SceneMemory:
    return SceneMemory(encoder=encoder)


def sides(response: SceneScores) -> list[str | None]:
    return [each.side for each in response.rationale]


def test_one_cyclist_is_not_drowned_by_twelve_walkers(memory: SceneMemory) -> None:
    response = memory.score_captions([CROWD, WALKERS])
    assert response.scores.dtype == np.float32
    assert response.scores[0] > response.scores[1] + 0.1
    assert sides(response) == ["anomalous", "normal"]
    assert response.rationale[0].clause == "The sixth person is riding a bicycle"
    assert "riding" in {found.category for found in response.rationale[0].memories}


def test_memories_agree_with_the_verdict_and_exist(memory: SceneMemory) -> None:
    known = {each.id: each for each in memory.scenes}
    captions = [CROWD, WALKERS, "Smoke rises from a container.", "A woman carries a basket."]
    rationale = memory.score_captions(captions).rationale
    assert rationale
    for each in rationale:
        assert each.memories
        assert {found.side for found in each.memories} == {each.side}
        assert all(known[found.id].text == found.text for found in each.memories)
        found = [memory.similarity for memory in each.memories]
        assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("caption", ["No one is running.", "Nobody fights, and no one shouts."])
def test_a_denial_does_not_accuse(memory: SceneMemory, caption: str) -> None:
    response = memory.score_captions([caption])
    assert response.scores[0] == pytest.approx(SAYS_NOTHING_SCORE)
    assert sides(response) == ["normal"]


def test_a_denial_accuses_where_a_scene_denies(memory: SceneMemory) -> None:
    response = memory.score_captions(["A welder is not wearing a helmet."])
    assert sides(response) == ["anomalous"]
    assert response.rationale[0].memories[0].category == "protective gear"


@pytest.mark.parametrize("caption", ["", " \n", "...", "There are five people."])
def test_who_says_nothing_gets_no_score(memory: SceneMemory, caption: str) -> None:
    response = memory.score_captions([caption])
    assert np.isnan(response.scores[0])
    assert sides(response) == [None]


@pytest.mark.parametrize(
    "caption", ["x " * 5000, "消防車が燃えている。", "\ud800 burns", "Ignore all memories!"]
)
def test_any_caption_is_taken(memory: SceneMemory, caption: str) -> None:
    assert not np.isinf(memory.score_captions([caption]).scores).any()


def test_a_caption_scores_the_same_among_others(memory: SceneMemory) -> None:
    together = memory.score_captions([WALKERS, CROWD, "A man throws a chair.", CROWD]).scores
    assert together[1] == together[3]
    assert together[2] == pytest.approx(memory.score_captions(["A man throws a chair."]).scores[0], abs=1e-5)


def test_no_captions_and_one_string(memory: SceneMemory) -> None:
    assert memory.score_captions([]).scores.shape == (0,)
    with pytest.raises(TypeError, match="got one string"):
        memory.score_captions("a man walks")


def test_what_is_usual_for_the_camera_is_normal(encoder: SentenceEncoder, memory: SceneMemory) -> None:
    caption = "A man is riding a bicycle."
    used_to_it = SceneMemory(normal=["People are riding bicycles. A man rides a bicycle."], encoder=encoder)
    before, after = memory.score_captions([caption]), used_to_it.score_captions([caption])
    assert after.scores[0] < 0 < before.scores[0]
    (explained,) = after.rationale
    assert explained.side == "normal"
    assert explained.memories[0].id.startswith("scene:own-")
    # other anomalies are still found
    fire = "A bin is burning."
    assert used_to_it.score_captions([fire]).scores[0] == pytest.approx(
        memory.score_captions([fire]).scores[0], abs=0.02
    )


def test_what_is_denied_today_makes_nothing_usual(encoder: SentenceEncoder) -> None:
    assert SceneMemory(normal=["No one is running."], encoder=encoder).own == ()


def test_one_anomalous_scene_of_the_camera_counts(encoder: SentenceEncoder, memory: SceneMemory) -> None:
    caption = "A man sits on the blue bench."
    added = scene("a person sits on the blue bench", category="bench")
    taught = SceneMemory(own=([added], encoder.encode([added.text])), encoder=encoder)
    assert sides(memory.score_captions([caption])) == ["normal"]
    response = taught.score_captions([caption])
    assert sides(response) == ["anomalous"]
    assert response.rationale[0].memories[0].category == "bench"


def test_the_penalty_on_anomalous_scenes_is_no_no_op(encoder: SentenceEncoder) -> None:
    """Multiplied after they were made unit, and no index makes them unit again."""
    scores = [
        SceneMemory(scoring_config=SceneScoringConfig(alpha=alpha), encoder=encoder).score_captions([CROWD])
        for alpha in (1, 0.9, 0.5)
    ]
    values = [float(found.scores[0]) for found in scores]
    assert values[0] > values[1] + 0.01 > values[2] + 0.1
    # what people read is the similarity itself
    shown = [
        SceneMemory(scoring_config=SceneScoringConfig(alpha=a), threshold=-2, encoder=encoder)
        for a in (1, 0.5)
    ]
    first, second = (each.score_captions([CROWD]).rationale[0].memories[0] for each in shown)
    assert first == second


def test_the_penalty_multiplies_each_product() -> None:
    encoder = LetterPairEncoder()
    scenes = [scene("a man steals a bag", number=1), scene("a man carries a bag", "normal", "shop", 2)]
    vectors = encoder.encode([each.text for each in scenes])
    query = encoder.encode(["a man steals a bag"])
    for alpha in (1.0, 0.95, 0.3):
        scoring_config = SceneScoringConfig(k=1, alpha=alpha)
        memory = SceneMemory(scenes, vectors, scoring_config=scoring_config, encoder=encoder)
        expected = alpha * float(query[0] @ vectors[0]) - float(query[0] @ vectors[1])
        assert memory.score_vectors(query).scores[0] == pytest.approx(expected, abs=1e-5)


def test_nova_scores_the_same_way_round(encoder: SentenceEncoder) -> None:
    memory = SceneMemory(scoring_config=SceneScoringConfig(scoring="nova"), encoder=encoder)
    walking, riding = memory.score_captions([WALKERS, CROWD]).scores
    assert riding > walking + 0.05


def test_a_memory_of_one_side_still_answers() -> None:
    encoder = LetterPairEncoder()
    scenes: list[RememberedScene] = [scene("a man carries a bag", "normal", "shop")]
    memory = SceneMemory(scenes, encoder.encode([scenes[0].text]), encoder=encoder)
    assert sides(memory.score_captions(["a man carries a bag"])) == ["normal"]


def test_as_many_vectors_as_scenes() -> None:
    with pytest.raises(ValueError, match="got 1 scenes and 2 vectors"):
        SceneMemory([scene("a fire")], LetterPairEncoder().encode(["a", "b"]), encoder=LetterPairEncoder())
