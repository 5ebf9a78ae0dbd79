# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
# Upstream OpenMMLab, whose last torch is older than Python 3.12.
PYTHON_UPSTREAM ?= python3.10
VENV_UPSTREAM ?= .venv-upstream
READY_UPSTREAM := $(VENV_UPSTREAM)/.ready

.PHONY: help env demo demo-det demo-seg demo-cls demo-hand test test-all test-upstream lint clean

help:
	@echo 'make demo           train Mask R-CNN on generated pictures, draw, deploy'
	@echo 'make demo-det       the same with RTMDet'
	@echo 'make demo-seg       the same with Semantic FPN'
	@echo 'make demo-cls       the same with a classifier'
	@echo 'make demo-hand      the same with 3D hand meshes, on generated hands'
	@echo 'make test           run the tests'
	@echo 'make test-all       run the slow tests, too'
	@echo 'make test-upstream  run the tests with upstream OpenMMLab'
	@echo 'make lint           check the code style and what imports what'
	@echo 'make env            only make the environment, in $(VENV)'
	@echo 'make clean          remove the environments and what the demos made'

$(READY): setup.py requirements/onedl.txt requirements/test.txt \
		requirements/export.txt tools/make_environment.py
	$(PYTHON) tools/make_environment.py $(VENV)

$(READY_UPSTREAM): setup.py requirements/upstream.txt requirements/test.txt \
		tools/make_environment.py
	@command -v $(PYTHON_UPSTREAM) > /dev/null || { echo \
		'error: there is no $(PYTHON_UPSTREAM) here, and upstream OpenMMLab' \
		'needs Python 3.10 or 3.11. Install one, or name one:' \
		'make test-upstream PYTHON_UPSTREAM=/path/to/python3.10'; exit 1; }
	$(PYTHON_UPSTREAM) tools/make_environment.py $(VENV_UPSTREAM) \
		--requirements upstream

env: $(READY)

demo: CONFIG := configs/maskrcnn_fastvit_sa12_shapes.py
demo-det: CONFIG := configs/rtmdet_fastvit_t8_shapes.py
demo-seg: CONFIG := configs/fpn_fastvit_sa12_shapes.py
demo-cls: CONFIG := configs/fastvit_sa12_shapes.py
demo-hand: CONFIG := configs/handmesh_fastvit_sa12_hands.py
demo demo-det demo-seg demo-cls: GENERATE := tools/generate_shapes.py data/shapes
demo-hand: GENERATE := tools/generate_hands.py data/hands
demo demo-det demo-seg: PICTURE := data/shapes/val/000001.png
demo-cls: PICTURE := data/shapes/crops/val/circle/000003.png
demo-hand: PICTURE := data/hands/evaluation/rgb/00000003.jpg
demo demo-det demo-seg demo-cls demo-hand: $(READY)
	$(RUN) $(GENERATE)
	$(RUN) tools/train.py $(CONFIG) --work-dir work_dirs/$@
	$(RUN) tools/visualize.py $(CONFIG) work_dirs/$@ --features --out work_dirs/$@/pictures
	$(RUN) tools/reparameterize.py $(CONFIG) work_dirs/$@ work_dirs/$@/deploy.pth
	$(RUN) tools/export.py $(CONFIG) work_dirs/$@ --out work_dirs/$@/model.onnx
	$(VENV)/bin/mmfastvit-predict work_dirs/$@/model.onnx $(PICTURE) \
		--out work_dirs/$@/pictures/exported.png

test: $(READY)
	$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist loadgroup

test-all: $(READY)
	$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist loadgroup -m 'slow or not slow'

test-upstream: $(READY_UPSTREAM)
	$(VENV_UPSTREAM)/bin/pytest -n auto --maxprocesses 4 --dist loadgroup

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports --cache-dir .ruff_cache/imports

clean:
	rm -rf $(VENV) $(VENV_UPSTREAM) data/shapes data/hands work_dirs/demo \
		work_dirs/demo-det work_dirs/demo-seg work_dirs/demo-cls work_dirs/demo-hand
