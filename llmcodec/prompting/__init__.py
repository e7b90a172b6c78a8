"""From words to prompts: task templates and the token ids they become."""

from llmcodec.prompting.builder import ClipWords, PromptBuilder
from llmcodec.prompting.templates import TaskTemplate, instruction, load_template, template_names, with_layers

__all__ = [
    "ClipWords",
    "PromptBuilder",
    "TaskTemplate",
    "instruction",
    "load_template",
    "template_names",
    "with_layers",
]
