"""The rule layer of ToolACE's verification (arXiv 2409.00920), one aspect a file, each a table of named
rules.

A rule is a function from the `facts` of a sample to what it objects to, "" when it is met; its name is the reason.
Rules are for what can be told without judgement: they must hardly ever object to a good sample. Not here: hallucinated
values, whether the task is completed (the model layer); whether the reference passes the verifier (`build`).
"""
