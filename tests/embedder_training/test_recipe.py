import json

import pytest

from embedder.augment import AUGMENTATIONS
from embedder.errors import BadRecipe
from embedder.network import NETWORKS
from embedder.objectives import Objective, Weighted
from embedder.recipe import RECIPES, Recipe, from_dict, open_recipe, parse_objectives


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_built_in_recipes_name_what_there_is(name):
    recipe = open_recipe(name)
    assert recipe.name == name
    assert recipe.network in NETWORKS
    assert recipe.augmentation in AUGMENTATIONS
    Objective(recipe.objectives, dim=8, classes=3)
    assert from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"data": "x", "steps": 7, "objectives": [{"name": "supcon", "weight": 2}]}')
    recipe = open_recipe(str(path))
    assert (recipe.steps, recipe.objectives) == (7, (Weighted("supcon", 2),))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON"),
        ("[]", "no object"),
        ('{"stepz": 3}', "no stepz"),
        ('{"steps": 0}', "steps is 0"),
        ('{"steps": "many"}', "wrong kind"),
        ('{"optimizer": "magic"}', "adamw, adamw-relative, sgd"),
        ('{"per_class": 9, "batch": 8}', "more than the batch"),
        ('{"warm_steps": 9}', "warm_body"),
    ],
)
def test_a_file_with_mistakes(tmp_path, text, words):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(BadRecipe, match=words):
        open_recipe(str(path))


def test_objectives_on_the_command_line():
    assert parse_objectives("triplet, supcon:0.5") == (Weighted("triplet"), Weighted("supcon", 0.5))


def test_changing_a_recipe_checks_it_again():
    with pytest.raises(BadRecipe, match="rate is -1"):
        Recipe().but(rate=-1.0)
