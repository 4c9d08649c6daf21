"""The service `llm` with a scripted model: no key, no network, and the same answer every time.

Beside it stand the models that pydantic-ai knows by name: `openai:gpt-5-mini` in the plan, with
OPENAI_API_KEY (and OPENAI_BASE_URL, for a server of one's own) in this participant's environment.
"""

import json

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from amends_participants.llm import Price, participant


def asked(messages: list[ModelMessage]) -> str:
    """What the user's side said last."""
    parts = [part for m in messages if isinstance(m, ModelRequest) for part in m.parts]
    return str(next(p.content for p in reversed(parts) if isinstance(p, UserPromptPart)))


def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    """As a model would, if all tickets were about broken teapots."""
    text = asked(messages)
    if text.startswith("Read this ticket"):
        usd = 300 if "all" in text else 30
        text = json.dumps({"topic": "refund" if "money" in text else "praise", "usd": usd})
    elif "rude" in text:
        return ModelResponse(parts=[], finish_reason="content_filter")
    else:
        text = "Your money is on its way." if "refund" in text else "Thank you!"
    return ModelResponse(parts=[TextPart(text)])


scripted = FunctionModel(answer, model_name="scripted")
app = participant({"scripted": scripted}, prices={"scripted": Price(input_usd=1, output_usd=4)})
