"""LoRA: low-rank corrections learn beside linear layers that stay as they were pretrained; by peft."""

from __future__ import annotations

from torch import Tensor, nn

from mimi_lightning.errors import ConfigError


def adapt(network: nn.Module, rank: int, alpha: float = 16.0) -> None:
    """Freeze a network and give every linear layer an adapter: W x becomes W x + (alpha / rank) B A x, B = 0 at first.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.

    Args:
        network: changed in place.
        rank: number of rows of A and of columns of B.
        alpha: how much a correction counts.

    Raises:
        ConfigError: peft is not installed, or the network has no linear layer.
    """
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ConfigError(
            "backbone.lora adapts linear layers, and this backbone has none, only convolutions: choose backbone=vit, "
            "or train all of it."
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError('backbone.lora needs: pip install "mimi-lightning[lora]"') from error
    for module in network.modules():
        if hasattr(module, "qkv_bias_separate"):  # else timm takes the layer's weight alone and passes its adapter by
            module.qkv_bias_separate = True
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear), network)


def adapters(network: nn.Module) -> list[nn.Parameter]:
    """Weights of the adapters of a network."""
    return [parameter for name, parameter in network.named_parameters() if ".lora_" in name]


def beside_adapters(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state dict for a network with new adapters, which begin as they are, from one of before it had them."""
    return {
        key: value if ".lora_" in key else state[key.replace(".base_layer.", ".")]
        for key, value in network.state_dict().items()
    }
