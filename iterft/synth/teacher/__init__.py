"""Synthesis with a teacher: any `protocols.ChatModel` says what the rules backend only has grammar for.

    words.py      a dialogue planned by rules, said in the teacher's words
    play.py       a dialogue played by three agents, user, assistant and tool; `assistant.py` is the one that decides
    tree.py       domains and functionalities, out of documents or of tools at hand
    tools.py      new definitions of tools, out of the tree

What comes of it goes through the same pipeline as the dialogues of the rules (`backend` is the seam). `asking.py` puts
the questions, whose wording is in `prompts/teacher/`; `answers.py` keeps the answers, so that a killed run asks nothing
twice.
"""
