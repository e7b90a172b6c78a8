"""`python -m llmcodec`: the command line where its script is not on the path."""

from llmcodec.cli import main

main()
