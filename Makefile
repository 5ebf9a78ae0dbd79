# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
DEMO := work_dirs/demo
SHAPES := configs/maskrcnn_fastvit_sa12_shapes.py

.PHONY: help env demo test lint clean

help:
	@echo 'make demo   train Mask R-CNN on generated pictures, draw, deploy'
	@echo 'make test   run the tests'
	@echo 'make lint   check the code style'
	@echo 'make env    only make the environment, in $(VENV)'
	@echo 'make clean  remove the environment and what the demo made'

$(READY): setup.py requirements/onedl.txt requirements/test.txt \
		tools/make_environment.py
	$(PYTHON) tools/make_environment.py $(VENV)

env: $(READY)

demo: $(READY)
	$(RUN) tools/generate_shapes.py data/shapes
	$(RUN) tools/train.py $(SHAPES) --work-dir $(DEMO)
	$(RUN) tools/visualize.py $(SHAPES) $(DEMO) --out $(DEMO)/pictures
	$(RUN) tools/reparameterize.py $(SHAPES) $(DEMO) $(DEMO)/deploy.pth

test: $(READY)
	$(VENV)/bin/pytest -n auto --maxprocesses 4

lint: $(READY)
	$(VENV)/bin/ruff check .

clean:
	rm -rf $(VENV) work_dirs data/shapes
