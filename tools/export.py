"""Export a model as one file, compared with PyTorch before it is kept."""
from _command_line import add_config_arguments, config_from, make_parser, run, size


def main() -> None:
    parser = make_parser(__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the whole model, '
                        'or a work directory, for its latest')
    parser.add_argument('--out', required=True, metavar='FILE',
                        help='file to write, ending in .onnx, .xml, .pt2, '
                        '.ncnn.param, .pte, .tflite or .mlpackage; the comparison '
                        'goes to FILE.json')
    parser.add_argument('--format', metavar='NAME',
                        help='what the file is, onnx, openvino, torch, ncnn, '
                        'executorch, litert or coreml (default: what its name says)')
    parser.add_argument('--opset', type=int,
                        help='version of ONNX\'s operators (default: 20)')
    parser.add_argument('--static', type=size, metavar='HxW',
                        help='take pictures of this size alone')
    parser.add_argument('--backbone-only', action='store_true',
                        help='export the feature maps, for heads of your own')
    parser.add_argument('--paste', action='store_true',
                        help='let the graph paste masks into the picture, N x H x W, '
                        'which is otherwise left to who runs it')
    parser.add_argument('--quantize', choices=['float16', 'int8'],
                        help='compute in fewer bits, and say what that costs')
    parser.add_argument('--calibration', metavar='CONFIG|FOLDER',
                        help='training pictures that tell int8 the range of '
                        'activations (default: those of the config)')
    parser.add_argument('--max-drop', type=float, metavar='POINTS',
                        help='that a metric may lose by it (default: 1)')
    args = parser.parse_args()
    if args.calibration is not None and args.quantize != 'int8':
        parser.error('--calibration is for --quantize int8')
    if args.max_drop is not None and not args.quantize:
        parser.error('--max-drop is for --quantize')
    from mmfastvit.export import Options, Quantization, export
    quantization = args.quantize and Quantization(
        args.quantize, args.calibration,
        1. if args.max_drop is None else args.max_drop)
    print(export(config_from(args), args.checkpoint, args.out, Options(
        args.format, args.opset, args.static, args.backbone_only, quantization,
        args.paste)))


if __name__ == '__main__':
    run(main)
