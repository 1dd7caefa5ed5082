"""Read models: questions about one aggregate, answered fast, folded from the log.

`columns.py` and `declaration.py` hold the words a model is declared with, `models/` the models, `sql.py` what a
declaration compiles to, `projector.py` how a model is brought up to a position. Adding a read model is one file in
`models/` (docs/how-to/add-a-read-model.md).
"""
