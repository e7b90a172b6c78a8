"""From words to prompts: task templates and the token ids they become."""

from llmcodec.prompting.builder import ClipWords, PromptBuilder
from llmcodec.prompting.templates import TaskTemplate, load_template, template_names

__all__ = ["ClipWords", "PromptBuilder", "TaskTemplate", "load_template", "template_names"]
