"""Low-rank adaptation of a language model on lessons (LoRA: Hu et al., 2022), by peft and transformers' Trainer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from llmcodec.errors import ConfigError
from llmcodec.evaluation.provenance import write_json
from llmcodec.llm import TransformersLLM
from llmcodec.models import quiet_loading

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class TuneSettings:
    """rank: of the adapters on every linear layer. batch: lessons in an update, `steps` updates in all."""

    rank: int = 8
    steps: int = 300
    batch: int = 4
    learning_rate: float = 5e-4
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        for name in ("rank", "steps", "batch", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must lie between 0 and 1")


def tune(
    llm: TransformersLLM, base: str, lessons: Dataset[dict[str, Tensor]], out: Path, settings: TuneSettings,
    seed: int = 0, progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:  # fmt: skip
    """Train adapters for `llm` and write them to `out`, where `load_llm` finds them; a run that was cut off goes on.

    base: the folder or hub id that `llm` was loaded from. `llm` itself is changed: load it anew to have it frozen.
    lessons: prompts and what of them is to be learned, see Lessons. progress: called with (done, total) updates.
    The losses are in log.json. Several processes: `accelerate launch`.
    """
    config = LoraConfig(
        r=settings.rank, lora_alpha=2 * settings.rank, lora_dropout=0.05, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    torch.manual_seed(seed)
    model = get_peft_model(llm.model, config)
    checkpoints = out / CHECKPOINTS
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=settings.steps,
        per_device_train_batch_size=1,  # lessons differ in length
        gradient_accumulation_steps=settings.batch,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.steps // 20,
        save_steps=settings.checkpoint_every,
        save_total_limit=1,
        logging_steps=max(1, settings.steps // 20),
        report_to="none",
        disable_tqdm=True,
        use_cpu=llm.model.device.type == "cpu",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=seed,
    )
    with quiet_loading():
        trainer = Trainer(model=model, args=arguments, train_dataset=lessons, callbacks=[_Progress(progress)])
        trainer.remove_callback(PrinterCallback)
        started = checkpoints.is_dir() and any(checkpoints.glob("checkpoint-*"))
        trainer.train(resume_from_checkpoint=started)
    if trainer.is_world_process_zero():
        write_json(out / "log.json", trainer.state.log_history)
        model.peft_config["default"].base_model_name_or_path = base
        model.save_pretrained(str(out), save_embedding_layers=False)  # "auto" asks the hub
        shutil.rmtree(checkpoints)
    trainer.accelerator.wait_for_everyone()  # the others load what was written


class _Progress(TrainerCallback):
    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress(state.global_step, state.max_steps)
