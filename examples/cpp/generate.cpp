// A whole beam search with one Run: a beamgen package's model.onnx from C++.
//
// Build, with $ORT an unpacked release of ONNX Runtime, 1.23 or newer (include/ and lib/):
//
//   g++ -std=c++17 -O2 generate.cpp -I"$ORT/include" -L"$ORT/lib" -Wl,-rpath,"$ORT/lib"
//       -lonnxruntime -o generate                       (one line)
//
// or: cmake -B build -DORT_ROOT="$ORT" && cmake --build build
//
// Run, with each prompt as one argument of token ids:
//
//   ./generate biogpt-onnx/model.onnx "2 230 11" "2 98" --num-beams 5 --max-new-tokens 20
//   ./generate slots/model.onnx "2 230 11" --lora slots/adapters/drugs.onnx_adapter
//   ./generate t5-onnx/model.onnx "13 8 1" --decoder-input-ids "0 5"
//
// An encoder-decoder reads the prompts, and its decoder goes on from --decoder-input-ids: the
// start token alone where it is left out.
//
// Any other option is an input of the file that has a default, by its name: the file's
// inputs are listed in the package's beamgen.json. A list is "0.7,1.2", one for each prompt.
// Each line printed is one hypothesis, best first: the prompt's number, the score, why it
// ended, and the new token ids.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

/// "5 9 7" or "5,9,7" as numbers; an empty text has none.
template <typename T>
std::vector<T> numbers(std::string text) {
  std::replace(text.begin(), text.end(), ',', ' ');
  std::vector<T> found;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    std::istringstream digits(word);
    T number;
    if (!(digits >> number) || !(digits >> std::ws).eof())
      throw std::invalid_argument("'" + word + "' is no number of the right kind");
    found.push_back(number);
  }
  return found;
}

/// A tensor that owns a copy of the values.
template <typename T>
Ort::Value tensor(const std::vector<T>& values, const std::vector<int64_t>& shape) {
  Ort::AllocatorWithDefaultOptions allocator;
  auto made = Ort::Value::CreateTensor<T>(allocator, shape.data(), shape.size());
  std::copy(values.begin(), values.end(), made.template GetTensorMutableData<T>());
  return made;
}

/// Of an encoder-decoder: with what its decoder goes on, its start token included.
const char* const kDecoderPrompt = "decoder_input_ids";

/// What Run is fed.
struct Feeds {
  std::vector<std::string> names;
  std::vector<Ort::Value> values;

  void add(const std::string& name, Ort::Value value) {
    names.push_back(name);
    values.push_back(std::move(value));
  }
};

/// input_ids and attention_mask [batch, prompt_len]: padding stands on the left, where an encoder
/// reads them on the right, and its mask is 0.
void add_prompts(Feeds& feeds, const std::vector<std::vector<int64_t>>& prompts, bool encoded) {
  size_t prompt_len = 0;
  for (const auto& prompt : prompts) prompt_len = std::max(prompt_len, prompt.size());
  std::vector<int64_t> ids, mask;
  for (const auto& prompt : prompts) {
    const size_t padding = prompt_len - prompt.size();
    const size_t before = encoded ? 0 : padding, behind = padding - before;
    ids.insert(ids.end(), before, 0);  // any id will do: the mask hides it
    mask.insert(mask.end(), before, 0);
    ids.insert(ids.end(), prompt.begin(), prompt.end());
    mask.insert(mask.end(), prompt.size(), 1);
    ids.insert(ids.end(), behind, 0);
    mask.insert(mask.end(), behind, 0);
  }
  const std::vector<int64_t> shape{static_cast<int64_t>(prompts.size()),
                                   static_cast<int64_t>(prompt_len)};
  feeds.add("input_ids", tensor(ids, shape));
  feeds.add("attention_mask", tensor(mask, shape));
}

/// Whether the file has an input of that name, be it one with a default.
bool takes(const Ort::Session& session, const std::string& name) {
  const auto defaults = session.GetOverridableInitializerNames();
  const auto plain = session.GetInputNames();
  return std::count(defaults.begin(), defaults.end(), name) +
         std::count(plain.begin(), plain.end(), name);
}

/// One input of one axis; C and C++ feed those that have a default, too.
void add_parameter(Feeds& feeds, const Ort::Session& session, const std::string& name,
                   const std::string& text) {
  const auto defaults = session.GetOverridableInitializerNames();
  const auto plain = session.GetInputNames();
  const auto in = [&name](const std::vector<std::string>& names) {
    return static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  };
  if (!takes(session, name)) throw std::invalid_argument("the file has no input called " + name);
  const bool has_default = in(defaults) < defaults.size();
  const Ort::TypeInfo info = has_default ? session.GetOverridableInitializerTypeInfo(in(defaults))
                                         : session.GetInputTypeInfo(in(plain));
  const auto type = info.GetTensorTypeAndShapeInfo();
  if (name == kDecoderPrompt) {  // [1, prompt_len]: one for all rows
    const auto ids = numbers<int64_t>(text);
    if (ids.empty()) throw std::invalid_argument(name + " has no token ids");
    return feeds.add(name, tensor(ids, {1, static_cast<int64_t>(ids.size())}));
  }
  if (type.GetDimensionsCount() != 1)
    throw std::invalid_argument(name + " is no list: feed it from a program of your own");
  if (type.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) {
    const auto values = numbers<int64_t>(text);
    feeds.add(name, tensor(values, {static_cast<int64_t>(values.size())}));
  } else {
    const auto values = numbers<float>(text);
    feeds.add(name, tensor(values, {static_cast<int64_t>(values.size())}));
  }
}

/// ONNX Runtime misses an input without a default only where a node comes to read it.
void check_complete(const Feeds& feeds, const Ort::Session& session, bool with_lora) {
  for (const auto& name : session.GetInputNames()) {
    if (with_lora && name.find(".lora_") != std::string::npos) continue;  // the adapter feeds it
    if (std::find(feeds.names.begin(), feeds.names.end(), name) == feeds.names.end())
      throw std::invalid_argument("the file has no default for " + name + ": give one");
  }
}

/// One line for each hypothesis.
void print(const std::vector<Ort::Value>& outputs) {
  static const char* const reasons[] = {"none", "eos", "length"};
  const auto sequences = outputs[0].GetTensorTypeAndShapeInfo().GetShape();  // [B, R, T]
  const auto scored = outputs[3].GetTensorTypeAndShapeInfo().GetShape();     // [B, R, G]
  const int64_t *ids = outputs[0].GetTensorData<int64_t>(),
                *reason = outputs[2].GetTensorData<int64_t>(),
                *beams = outputs[3].GetTensorData<int64_t>();
  const float* scores = outputs[1].GetTensorData<float>();
  const int64_t returned = sequences[1], total = sequences[2], steps = scored[2];
  for (int64_t i = 0; i < sequences[0] * returned; ++i) {
    if (reason[i] == 0) continue;  // the search found fewer than were asked for
    std::printf("%d\t%.6f\t%s\t", static_cast<int>(i / returned), scores[i], reasons[reason[i]]);
    // beam_indices is -1 behind the end: no need to know the EOS and padding ids
    for (int64_t step = 0; step < steps && beams[i * steps + step] >= 0; ++step)
      std::printf(step ? " %lld" : "%lld",
                  static_cast<long long>(ids[(i + 1) * total - steps + step]));
    std::printf("\n");
  }
}

void generate(const std::vector<std::string>& arguments) {
  std::vector<std::vector<int64_t>> prompts;
  std::map<std::string, std::string> parameters;
  std::string model, lora;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.rfind("--", 0) == 0) {
      if (++i == arguments.size()) throw std::invalid_argument(argument + " has no value");
      std::string name = argument.substr(2);
      std::replace(name.begin(), name.end(), '-', '_');
      (name == "lora" ? lora : parameters[name]) = arguments[i];
    } else if (model.empty()) {
      model = argument;
    } else {
      prompts.push_back(numbers<int64_t>(argument));
      const auto& ids = prompts.back();
      if (ids.empty()) throw std::invalid_argument("a prompt has no token ids");
      // ONNX counts negative indices from the end
      if (*std::min_element(ids.begin(), ids.end()) < 0)
        throw std::invalid_argument("'" + argument + "' holds a negative token id");
    }
  }
  if (prompts.empty())
    throw std::invalid_argument("usage: generate MODEL.onnx \"ID ID ...\" ... [--NAME VALUE] ...");
  if (!lora.empty() && !std::filesystem::exists(lora))
    throw std::invalid_argument("there is no file " + lora);
  parameters["output_scores"] = "1";  // fills beam_indices

  // It would warn of every input that has a default; errors are thrown.
  Ort::Env env(ORT_LOGGING_LEVEL_FATAL);
  Ort::Session session(env, std::filesystem::path(model).c_str(), Ort::SessionOptions());
  Feeds feeds;
  add_prompts(feeds, prompts, takes(session, kDecoderPrompt));
  for (const auto& [name, text] : parameters) add_parameter(feeds, session, name, text);
  check_complete(feeds, session, !lora.empty());

  Ort::LoraAdapter adapter{nullptr};
  Ort::RunOptions run;
  if (!lora.empty()) {
    adapter = Ort::LoraAdapter::CreateLoraAdapter(std::filesystem::path(lora).native(), nullptr);
    run.AddActiveLoraAdapter(adapter);
  }
  std::vector<const char*> inputs;
  for (const auto& name : feeds.names) inputs.push_back(name.c_str());
  const char* const outputs[] = {"sequences", "sequences_scores", "finish_reasons",
                                 "beam_indices"};
  print(session.Run(run, inputs.data(), feeds.values.data(), inputs.size(), outputs, 4));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    generate({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::string line = error.what();
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::fprintf(stderr, "error: %s\n", line.c_str());
    return 1;
  }
}
