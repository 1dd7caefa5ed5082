"""Read models: questions about one aggregate, answered fast, folded from the log.

`declaration.py` holds the words a model is declared with, `models.py` the models, `sql.py` what a declaration compiles
to, `projector.py` how a model is brought up to a position. Adding a read model is one entry in `models.py`.
"""
