"""From words to prompts: task templates and the token ids they become."""

from llmcodec.prompting.builder import ClipWords, PromptBuilder
from llmcodec.prompting.generation import (
    GenerationBuilder,
    GenerationTemplate,
    generation_template_names,
    load_generation_template,
)
from llmcodec.prompting.templates import TaskTemplate, instruction, load_template, template_names, with_layers

__all__ = [
    "ClipWords",
    "GenerationBuilder",
    "GenerationTemplate",
    "PromptBuilder",
    "TaskTemplate",
    "generation_template_names",
    "instruction",
    "load_generation_template",
    "load_template",
    "template_names",
    "with_layers",
]
