"""The recipe: all settings of a run, how they are read, and the rules between them.

Values merge dataclass <- recipe YAML <- command line. Whatever is wrong becomes one `ValueError` that names the key,
the rule and the value. Not here: what the settings do (the modules that take them say so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from pathlib import Path
from typing import Any

from iterft.config import (
    STAGES,
    VLLM_MAX_RANK,
    DataSettings,
    DeficiencySettings,
    EndpointSettings,
    EvalSettings,
    GrpoSettings,
    ModelSettings,
    PairSettings,
    PolicySettings,
    SearchSettings,
    StageSettings,
    WarmupSettings,
)
from iterft.setting_rules import at_least, first_line, list_of, nearest, one_of, reject_unknown_keys, setting, validate

RECIPES = Path(__file__).parent / "recipes"
"""A link to the folder at the top of the repository, so that they are installed with the package."""
DEFAULT_RECIPE = "smollm2-135m"
USED_BY_CHECKS = ("plant", "step", "extent", "self_weight")
"""Settings of search and pairs that say how deficient samples are looked for, too."""


def is_folder_name(name: str) -> bool:
    return bool(name.strip()) and "/" not in name


@dataclass(kw_only=True)
class Recipe:
    """All settings of a run. `report_to`: trackers that get our metrics as well; each has to be installed. `stages`:
    several updates in an iteration, one after the other, instead of the one that is `stage.kind`."""

    name: str = setting(DEFAULT_RECIPE, "must be a name for folders, without a slash", is_folder_name)
    iters: int = at_least(0, 3)
    seed: int = at_least(0, 0)
    report_to: list[str] = list_of([], "tensorboard", "wandb", "trackio")
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    env: str = one_of("recorded", "recorded")
    verifier: str = one_of("call_match", "call_match")
    policy: PolicySettings = field(default_factory=PolicySettings)
    warmup: WarmupSettings = field(default_factory=WarmupSettings)
    deficiency: DeficiencySettings = field(default_factory=DeficiencySettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    pairs: PairSettings = field(default_factory=PairSettings)
    stages: list[str] = list_of([], *STAGES)
    stage: StageSettings = field(default_factory=StageSettings)
    grpo: GrpoSettings = field(default_factory=GrpoSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)

    @property
    def stage_kinds(self) -> list[str]:
        """The updates of an iteration, in order."""
        return self.stages or [self.stage.kind]

    @property
    def warms_up(self) -> bool:
        return self.warmup.epochs > 0 and self.warmup.num_samples > 0

    @property
    def mines_pairs(self) -> bool:
        """Whether an update of an iteration learns from pairs, so that there is something to search for."""
        return "dpo" in self.stage_kinds

    @property
    def finds_deficient(self) -> bool:
        """Whether it matters where the policy is weak."""
        return self.mines_pairs or self.grpo.samples == "deficient"

    @property
    def whole_turns(self) -> bool:
        """Whether wrong turns are sampled to their end, as grades need it; else each ends with its first error, which
        is all that pairs of argument steps need."""
        return self.search.step != "argument" or self.pairs.extent == "turn" or self.search.self_weight > 0

    @property
    def unused_settings(self) -> list[str]:
        """Names of settings that differ from their defaults and that no update of these recipes looks at (`grpo` apart,
        which a recipe may hold for another `stage.kind`)."""
        used: dict[str, Sequence[str]] = {}  # section -> what is looked at nevertheless
        if not self.mines_pairs:
            used = {"stage": ("kind", "update_rate"), "pairs": USED_BY_CHECKS, "search": USED_BY_CHECKS}
        if not self.finds_deficient:
            used |= dict.fromkeys(("pairs", "search", "deficiency"), ())
        usual = Recipe()
        names = [
            f"{section}.{entry.name}"
            for section, names in used.items()
            for entry in fields(getattr(self, section))
            if entry.name not in names
        ]
        if self.finds_deficient and not self.mines_pairs:
            names.append("deficiency.negative_share")
        if self.stages and self.stage.kind not in self.stages:
            names.append("stage.kind")
        if self.mines_pairs and self.search.kind not in ("puct", "uct"):
            names.append("search.c_puct")
        if "entropy_grpo" not in self.stage_kinds:
            names.append("grpo.entropy_weight")
        return [name for name in names if setting_of(self, name) != setting_of(usual, name)]

    @property
    def unevaluated(self) -> Recipe:
        """The same without BFCL, for who only serves its checkpoints: its items and its package are not needed then."""
        return replace(self, eval=replace(self.eval, bfcl=[]))

    @staticmethod
    def load(name_or_file: str | Path = DEFAULT_RECIPE, overrides: Sequence[str] = ()) -> Recipe:
        """A shipped recipe by name or a YAML file, then `key.subkey=value` overrides. ValueError on anything wrong."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        path = recipe_path(name_or_file)
        schema = OmegaConf.structured(Recipe)
        try:
            loaded = OmegaConf.load(path)
        except (OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
            raise ValueError(f"{path}: not readable as YAML ({first_line(error)})") from error
        layers = [(str(path), loaded)]
        layers += [(f"--set {override}", override_of(override, "--set", "stage.lr=1e-4")) for override in overrides]
        for origin, layer in layers:
            if not OmegaConf.is_dict(layer):
                raise ValueError(f"{origin}: a recipe is a mapping of keys to values")
            content = OmegaConf.to_container(layer)
            assert isinstance(content, dict), "a dict config converts to a dict"
            reject_unknown_keys(content, Recipe, origin)
            try:
                schema = OmegaConf.merge(schema, layer)
            except OmegaConfBaseException as error:
                raise ValueError(f"{origin}: key '{error.full_key}': {first_line(error)}") from error
        try:
            recipe = OmegaConf.to_object(schema)
        except OmegaConfBaseException as error:
            raise ValueError(f"{path}: key '{error.full_key}': {first_line(error)}") from error
        assert isinstance(recipe, Recipe), "the schema is a Recipe"
        validate(recipe)
        validate_together(recipe)
        return recipe

    def to_yaml(self) -> str:
        """The full recipe, every default included."""
        from omegaconf import OmegaConf

        return str(OmegaConf.to_yaml(OmegaConf.structured(self)))


def setting_of(recipe: Recipe, name: str) -> Any:
    """What a recipe holds under a name such as `stage.lr`."""
    return reduce(getattr, name.split("."), recipe)


def override_of(override: str, option: str, example: str) -> Any:
    """What key=value says, as OmegaConf holds it. ValueError, beginning with the option, when it says nothing."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if "=" not in override:
        raise ValueError(f"{option} {override}: expected key=value, for example {option} {example}")
    try:
        written = f"{override}''" if override.endswith("=") else override  # else it would be null
        return OmegaConf.from_dotlist([written])
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ValueError(f"{option} {override}: its value is not readable as YAML ({first_line(error)})") from error


def endpoint_settings(overrides: Sequence[str], **given: Any) -> EndpointSettings:
    """Settings of a server: `given`, and key=value of what no other option gives. ValueError for one that is wrong."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schema = OmegaConf.structured(EndpointSettings(**given))
    for override in overrides:
        origin = f"--endpoint {override}"
        layer = override_of(override, "--endpoint", "timeout_s=300")
        content = OmegaConf.to_container(layer)
        assert isinstance(content, dict), "a dotlist is a mapping"
        reject_unknown_keys(content, EndpointSettings, origin)
        if elsewhere := {"base_url", "model", "key_env"} & content.keys():
            raise ValueError(f"{origin}: {min(elsewhere)} has an option of its own; see --help")
        try:
            schema = OmegaConf.merge(schema, layer)
        except OmegaConfBaseException as error:
            raise ValueError(f"{origin}: {first_line(error)}") from error
    settings = OmegaConf.to_object(schema)
    assert isinstance(settings, EndpointSettings), "the schema is one of these"
    validate(settings, "endpoint.")
    return settings


def recipe_path(name_or_file: str | Path) -> Path:
    """The file of a recipe; ValueError naming the nearest shipped recipe when there is none."""
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ValueError(f"--recipe {path}: no such file")
        return path
    shipped = {candidate.stem: candidate for candidate in sorted(RECIPES.glob("*.yaml"))}
    if str(name_or_file) not in shipped:
        raise ValueError(
            f"--recipe {name_or_file}: no such recipe{nearest(str(name_or_file), list(shipped))}; "
            f"shipped are {', '.join(shipped)}"
        )
    return shipped[str(name_or_file)]


def validate_together(recipe: Recipe) -> None:
    """ValueError for settings that do not go together."""
    validate_model(recipe.model)
    validate_stage(recipe.stage)
    if recipe.search.entropy_weight and recipe.search.kind != "puct":
        raise ValueError(
            f"search.entropy_weight: is used by search.kind=puct only, not by {recipe.search.kind}; set it to 0, or "
            "search.kind=puct"
        )
    validate_grpo(recipe)
    if recipe.policy.kind == "vllm":
        validate_vllm(recipe)


def validate_model(settings: ModelSettings) -> None:
    if settings.tuning == "full" and settings.quantization != "none":
        raise ValueError(
            f"model.quantization: {settings.quantization} weights cannot be tuned in full; set model.tuning=lora, or "
            "model.quantization=none"
        )


def validate_stage(settings: StageSettings) -> None:
    if "exo_pair" in settings.loss_types and not settings.extra.get("label_smoothing"):
        raise ValueError("stage.loss_types: exo_pair needs stage.extra.label_smoothing greater than 0; set it")
    if len(settings.loss_types) != len(settings.loss_weights):
        raise ValueError(
            "stage.loss_weights: must have one weight per loss type, but there are "
            f"{len(settings.loss_weights)} for {len(settings.loss_types)}"
        )


def validate_grpo(recipe: Recipe) -> None:
    """ValueError for settings that do not go together in a recipe that thinks, or updates on rollouts."""
    settings = recipe.grpo
    if recipe.model.think and recipe.data.masked_share:
        raise ValueError(
            "data.masked_share: must be 0 with model.think=true, as think parts would go on saying the old names"
        )
    if recipe.model.think and recipe.data.reworded_share:
        raise ValueError(
            "data.reworded_share: must be 0 with model.think=true, as think parts would go on citing the old words"
        )
    if set(recipe.stage_kinds) == {"dpo"}:
        return
    if settings.kl_weight and recipe.model.tuning == "full":
        raise ValueError(
            "grpo.kl_weight: must be 0 with model.tuning=full, as the reference policy is an adapter on the same "
            "weights; set it, or model.tuning=lora"
        )
    if settings.reward in ("template_match", "graded_match") and not recipe.model.think:
        raise ValueError(
            f"grpo.reward: {settings.reward} asks for think parts; set model.think=true too, or grpo.reward=call_match"
        )
    if settings.clip_cov_low >= settings.clip_cov_high:
        raise ValueError(
            f"grpo.clip_cov_low: must be less than grpo.clip_cov_high, {settings.clip_cov_high}, but it is "
            f"{settings.clip_cov_low}"
        )
    if settings.top_entropy_share == 0:
        raise ValueError("grpo.top_entropy_share: must be greater than 0, or nothing is learnt from")


def validate_vllm(recipe: Recipe) -> None:
    """ValueError for what policy.kind vllm cannot do."""
    model = recipe.model
    faults = {
        "model.quantization: must be none": model.quantization != "none",
        "eval.constrained: must be false": recipe.eval.constrained,
        "search.self_weight: must be 0 where model.tuning is full, as it holds one checkpoint at a time": (
            model.tuning == "full" and recipe.search.self_weight > 0
        ),
        f"model.lora.r: must be at most {VLLM_MAX_RANK}": model.tuning == "lora" and model.lora.r > VLLM_MAX_RANK,
    }
    for fault, is_there in faults.items():
        if is_there:
            raise ValueError(f"{fault}, with policy.kind vllm; change it, or set policy.kind=hf")
