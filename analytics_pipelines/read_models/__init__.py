"""Read models: questions about one aggregate, answered fast, folded from the log.

`declaration.py` and `columns.py` hold the words a model is declared with, `models/` the models, `sql.py` what a
declaration compiles to, `projector.py` how a model is brought up to a position, `versions.py` and `rebuild.py` how one
version takes another's place. Adding a read model is one file in `models/` (docs/how-to/add-a-read-model.md).
"""
