"""The toolboxes' own tools on our models, in train form and in deploy form."""
import copy

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import load_checkpoint
from torch.testing import assert_close

from helpers import assert_outputs_close, build, shapes_case
from mmfastvit import ArgumentError, reparameterize
from mmfastvit.apis.deploy import reparameterize_checkpoint
from mmfastvit.models.reparam import run_branches

SIZE = (2, 3, 64, 64)
SHAPES = ('circle', 'square', 'triangle')


@pytest.fixture(autouse=True)
def _scope():
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='module')
def pair(shapes, tmp_path_factory):
    """Return a function from a task to config and checkpoint of both forms."""
    made = {}

    def get(task):
        if task not in made:
            folder = tmp_path_factory.mktemp(task)
            cfg, checkpoint = shapes_case(task, shapes, folder)
            cfg.dump(folder / 'model.py')
            reparameterize_checkpoint(copy.deepcopy(cfg), checkpoint,
                                      folder / 'deploy.pth', num_pictures=1)
            weights = torch.load(checkpoint, weights_only=True)
            meta = torch.load(folder / 'deploy.pth', weights_only=True)['meta']
            torch.save(dict(state_dict=weights, meta=dict(
                dataset_meta=meta['dataset_meta'])), folder / 'model.pth')
            DefaultScope._instance_dict.clear()
            made[task] = folder
        return made[task]

    return get


@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.parametrize('arch', ['t8', 'sa12'])
def test_fuse_conv_bn(arch, deploy):
    """Equal numbers, before and after ours, whatever it leaves."""
    from mmcv.cnn import fuse_conv_bn
    model = build(arch).eval()
    x = torch.rand(SIZE, dtype=torch.float64)
    with torch.no_grad():
        expected = model(x)
        if deploy:
            model = reparameterize(model)
        fused = fuse_conv_bn(copy.deepcopy(model))
        assert_outputs_close(fused(x), expected, 1e-9)
        with run_branches(fused):
            assert_outputs_close(fused(x), expected, 1e-9)
        try:
            folded = reparameterize(fused)
        except ArgumentError:
            return
        assert_outputs_close(folded(x), expected, 1e-9)


@pytest.mark.parametrize('deploy', [False, True])
def test_get_flops(deploy):
    """Parameters and operations of the form that runs, and its printers."""
    model = build('t8', double=False, deploy=deploy).eval()
    assert 'RepMixer' in repr(model)
    info = get_model_complexity_info(model, inputs=(torch.rand(1, 3, 64, 64),))
    assert info['params'] == sum(p.numel() for p in model.parameters())
    assert info['flops'] > 0 and 'stages' in info['out_arch'] + info['out_table']


@pytest.mark.parametrize('deploy', [False, True])
def test_publish_model(deploy, tmp_path):
    """What is left without optimiser and hooks loads again, as their tools load."""
    model = build('t8', double=False, deploy=deploy)
    torch.save(dict(state_dict=model.state_dict(), optimizer=dict(state={}),
                    message_hub={}, meta=dict(epoch=1)), tmp_path / 'full.pth')
    from mmengine.runner.checkpoint import save_checkpoint
    content = torch.load(tmp_path / 'full.pth', weights_only=True)
    for key in ('optimizer', 'message_hub'):
        content.pop(key)
    save_checkpoint(content, str(tmp_path / 'published.pth'))
    twin = build('t8', double=False, deploy=deploy)
    load_checkpoint(twin, str(tmp_path / 'published.pth'), strict=True)
    assert_close(twin.state_dict(), model.state_dict(), rtol=0, atol=0)


class Activations:
    """Keeps what a target layer gives and its gradient, as CAM tools do."""

    def __init__(self, layer):
        self.handle = layer.register_forward_hook(self.keep)

    def keep(self, layer, args, output):
        self.maps = output
        output.register_hook(lambda grad: setattr(self, 'grad', grad))

    def cam(self):
        """Return the map of Grad-CAM, before its negative part is cut off."""
        weights = self.grad.mean((2, 3), keepdim=True)
        return (weights * self.maps).sum(1).detach()


@pytest.mark.parametrize('arch', ['t8', 'sa12'])
def test_class_activation_maps(arch):
    """The documented target, in train form, deploy form and while training."""
    model = build(arch, out_indices=(3,), out_norm_cfg=None)
    x = torch.rand(SIZE, dtype=torch.float64)
    weight = torch.randn(model.out_channels[0], 1, 1, dtype=torch.float64)

    def cam(network, grad=True):
        kept = Activations(network.get_submodule('stages.3'))
        out = network(x)[0]
        (out * weight).sum().backward()
        kept.handle.remove()
        assert_close(kept.maps, out, rtol=0, atol=0)
        return kept.cam()

    expected = cam(model.eval())
    assert expected.abs().max() > 0
    assert_close(cam(reparameterize(model)), expected, rtol=1e-8, atol=1e-8)
    live = cam(copy.deepcopy(model).train())
    with run_branches(model.train()):
        assert_close(cam(model), live, rtol=1e-8, atol=1e-8)


def test_vis_cam(pair):
    """MMPretrain's, where its library is installed."""
    cam = pytest.importorskip('pytorch_grad_cam')
    from mmpretrain import get_model
    folder = pair('classifier')
    for name in ('model', 'deploy'):
        model = get_model(str(folder / f'{name}.py'), str(folder / f'{name}.pth'))
        found = cam.GradCAM(model, [model.backbone.stages[3]])(torch.rand(1, 3, 64, 64))
        assert found.shape == (1, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['model', 'deploy'])
def test_image_classification_inferencer(pair, shapes, name):
    from mmpretrain import ImageClassificationInferencer
    folder = pair('classifier')
    inferencer = ImageClassificationInferencer(
        str(folder / f'{name}.py'), str(folder / f'{name}.pth'), device='cpu')
    result, = inferencer(str(shapes / 'val' / '000001.png'))
    assert result['pred_class'] in SHAPES


@pytest.mark.slow
@pytest.mark.parametrize('task', ['maskrcnn', 'retinanet'])
def test_det_inferencer(pair, shapes, task):
    """From both pairs, and from the deploy checkpoint alone."""
    from mmdet.apis import DetInferencer
    folder = pair(task)
    found = []
    for model, weights in (('model.py', 'model.pth'), ('deploy.py', 'deploy.pth'),
                           (None, 'deploy.pth')):
        inferencer = DetInferencer(model and str(folder / model),
                                   str(folder / weights), device='cpu',
                                   show_progress=False)
        assert inferencer.model.dataset_meta['classes'] == SHAPES
        result = inferencer(str(shapes / 'val' / '000001.png'))['predictions'][0]
        found.append(torch.tensor(result['scores'])[:5])
    assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)
    assert_close(found[2], found[1], rtol=0, atol=0)


@pytest.mark.slow
def test_mmseg_inferencer(pair, shapes):
    from mmseg.apis import MMSegInferencer
    folder = pair('fpn')
    found = []
    for model, weights in (('model.py', 'model.pth'), ('deploy.py', 'deploy.pth'),
                           (None, 'deploy.pth')):
        inferencer = MMSegInferencer(model and str(folder / model),
                                     str(folder / weights), device='cpu')
        result = inferencer(str(shapes / 'val' / '000001.png'), show=False)
        found.append(torch.from_numpy(result['predictions']))
    assert (found[0] != found[1]).float().mean() < 0.01  # where two classes tie
    assert_close(found[2], found[1], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['model', 'deploy'])
def test_test_time_augmentation(pair, shapes, name):
    """As MMDetection and MMSegmentation wrap a model, two pictures at a time."""
    from mmengine.config import Config, ConfigDict
    from mmengine.dataset import Compose, pseudo_collate
    for task, kind, pack in (('retinanet', 'DetTTAModel', 'PackDetInputs'),
                             ('fpn', 'SegTTAModel', 'PackSegInputs')):
        folder = pair(task)
        cfg = Config.fromfile(folder / f'{name}.py')
        init_default_scope(cfg.default_scope)
        from mmengine.registry import MODELS
        load = cfg.test_dataloader.dataset.pipeline[0]
        meta = ('img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip',
                'flip_direction', 'img_id')
        pipeline = Compose([load, dict(type='TestTimeAug', transforms=[
            [dict(type='Resize', scale=(64, 64))],
            [dict(type='RandomFlip', prob=prob) for prob in (0., 1.)],
            [dict(type=pack, meta_keys=meta)]])])
        tta = dict(tta_cfg=ConfigDict(nms=dict(type='nms', iou_threshold=0.5),
                                max_per_img=10)) if task == 'retinanet' else {}
        model = MODELS.build(dict(type=kind, module=cfg.model, **tta)).eval()
        load_checkpoint(model.module, str(folder / f'{name}.pth'), strict=True)
        item = pipeline(dict(img_path=str(shapes / 'val' / '000001.png'), img_id=0))
        with torch.no_grad():
            result, = model.test_step(pseudo_collate([item]))
        if task == 'fpn':
            assert result.pred_sem_seg.data.shape[-2:] == (64, 64)
        else:
            assert 0 < len(result.pred_instances) <= 10
        DefaultScope._instance_dict.clear()
