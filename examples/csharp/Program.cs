// A whole beam search with one Run: a beamgen package's model.onnx from C#.
//
//   dotnet run -- biogpt-onnx/model.onnx "2 230 11" "2 98" --num-beams 5 --max-new-tokens 20
//   dotnet run -- slots/model.onnx "2 230 11" --lora slots/adapters/drugs.onnx_adapter
//   dotnet run -- t5-onnx/model.onnx "13 8 1" --decoder-input-ids "0 5"
//
// An encoder-decoder reads the prompts, and its decoder goes on from --decoder-input-ids: the
// start token alone where it is left out.
//
// Each prompt is one argument of token ids. Any other option is an input of the file that has
// a default, by its name: the file's inputs are listed in the package's beamgen.json. A list is
// "0.7,1.2", one for each prompt. Each line printed is one hypothesis, best first: the prompt's
// number, the score, why it ended, and the new token ids.

using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

internal static class Program
{
    private const string Usage =
        "usage: generate MODEL.onnx \"ID ID ...\" ... [--NAME VALUE] ...";

    // Of an encoder-decoder: with what its decoder goes on, its start token included.
    private const string DecoderPrompt = "decoder_input_ids";

    private static readonly string[] Outputs =
        { "sequences", "sequences_scores", "finish_reasons", "beam_indices" };

    private static readonly string[] Reasons = { "none", "eos", "length" };

    private static int Main(string[] arguments)
    {
        try
        {
            Generate(arguments);
            return 0;
        }
        catch (Exception error)
        {
            Console.Error.WriteLine("error: " + error.Message.Replace('\n', ' '));
            return 1;
        }
    }

    private static void Generate(string[] arguments)
    {
        string? model = null, lora = null;
        var prompts = new List<long[]>();
        var parameters = new Dictionary<string, string>();
        for (int i = 0; i < arguments.Length; i++)
        {
            string argument = arguments[i];
            if (argument.StartsWith("--", StringComparison.Ordinal))
            {
                if (++i == arguments.Length)
                    throw new ArgumentException(argument + " has no value");
                string name = argument.Substring(2).Replace('-', '_');
                if (name == "lora") lora = arguments[i];
                else parameters[name] = arguments[i];
            }
            else if (model == null)
            {
                model = argument;
            }
            else
            {
                long[] ids = Numbers(argument, long.Parse);
                if (ids.Length == 0) throw new ArgumentException("a prompt has no token ids");
                // ONNX counts negative indices from the end
                if (ids.Min() < 0)
                    throw new ArgumentException($"'{argument}' holds a negative token id");
                prompts.Add(ids);
            }
        }
        if (model == null || prompts.Count == 0)
            throw new ArgumentException(Usage);
        if (lora != null && !File.Exists(lora))
            throw new ArgumentException("there is no file " + lora);
        parameters["output_scores"] = "1"; // fills beam_indices

        using var options = new SessionOptions
        {
            // It would warn of every input that has a default; errors are thrown.
            LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL,
        };
        using var session = new InferenceSession(model, options);
        var feeds = new Dictionary<string, OrtValue>();
        AddPrompts(feeds, prompts, Input(session, DecoderPrompt) != null);
        foreach (var parameter in parameters)
            feeds[parameter.Key] = Parameter(session, parameter.Key, parameter.Value);
        CheckComplete(feeds, session, lora != null);

        using var run = new RunOptions();
        using OrtLoraAdapter? adapter = lora == null ? null : OrtLoraAdapter.Create(lora, null);
        if (adapter != null) run.AddActiveLoraAdapter(adapter);
        using (var outputs = session.Run(run, feeds, Outputs)) Print(outputs);
        foreach (OrtValue value in feeds.Values) value.Dispose();
    }

    private delegate T Parse<T>(string word, NumberStyles style, IFormatProvider provider);

    /// <summary>"5 9 7" or "5,9,7" as numbers; an empty text has none.</summary>
    private static T[] Numbers<T>(string text, Parse<T> parse)
    {
        NumberStyles style =
            typeof(T) == typeof(float) ? NumberStyles.Float : NumberStyles.AllowLeadingSign;
        var separators = new[] { ' ', ',' };
        return text.Split(separators, StringSplitOptions.RemoveEmptyEntries).Select(word =>
        {
            try
            {
                return parse(word, style, CultureInfo.InvariantCulture);
            }
            catch (Exception error) when (error is FormatException || error is OverflowException)
            {
                throw new ArgumentException($"'{word}' is no number of the right kind");
            }
        }).ToArray();
    }

    private static OrtValue List<T>(T[] values) where T : unmanaged =>
        OrtValue.CreateTensorValueFromMemory(values, new long[] { values.Length });

    /// <summary>
    /// input_ids and attention_mask [batch, prompt_len]: padding stands on the left, where an
    /// encoder reads them on the right, and its mask is 0.
    /// </summary>
    private static void AddPrompts(
        Dictionary<string, OrtValue> feeds, List<long[]> prompts, bool encoded)
    {
        int promptLen = prompts.Max(prompt => prompt.Length);
        var ids = new long[prompts.Count * promptLen]; // any padding id will do: the mask hides it
        var mask = new long[ids.Length];
        for (int row = 0; row < prompts.Count; row++)
        {
            int padding = encoded ? 0 : promptLen - prompts[row].Length;
            int start = row * promptLen + padding;
            prompts[row].CopyTo(ids, start);
            Array.Fill(mask, 1, start, prompts[row].Length);
        }
        var shape = new long[] { prompts.Count, promptLen };
        feeds["input_ids"] = OrtValue.CreateTensorValueFromMemory(ids, shape);
        feeds["attention_mask"] = OrtValue.CreateTensorValueFromMemory(mask, shape);
    }

    /// <summary>An input of the file, be it one with a default; null where there is none.</summary>
    private static NodeMetadata? Input(InferenceSession session, string name) =>
        session.OverridableInitializerMetadata.TryGetValue(name, out NodeMetadata? input)
            || session.InputMetadata.TryGetValue(name, out input)
            ? input
            : null;

    /// <summary>One input of one axis; C# feeds those that have a default, too.</summary>
    private static OrtValue Parameter(InferenceSession session, string name, string text)
    {
        NodeMetadata input = Input(session, name)
            ?? throw new ArgumentException("the file has no input called " + name);
        if (name == DecoderPrompt) // [1, prompt_len]: one for all rows
        {
            long[] ids = Numbers(text, long.Parse);
            if (ids.Length == 0) throw new ArgumentException(name + " has no token ids");
            return OrtValue.CreateTensorValueFromMemory(ids, new long[] { 1, ids.Length });
        }
        if (input.Dimensions.Length != 1)
            throw new ArgumentException(name + " is no list: feed it from a program of your own");
        return input.ElementDataType == TensorElementType.Int64
            ? List(Numbers(text, long.Parse))
            : List(Numbers(text, float.Parse));
    }

    /// <summary>
    /// ONNX Runtime misses an input without a default only where a node comes to read it.
    /// </summary>
    private static void CheckComplete(
        Dictionary<string, OrtValue> feeds, InferenceSession session, bool withLora)
    {
        foreach (string name in session.InputMetadata.Keys)
        {
            if (withLora && name.Contains(".lora_")) continue; // the adapter feeds it
            if (!feeds.ContainsKey(name))
                throw new ArgumentException($"the file has no default for {name}: give one");
        }
    }

    /// <summary>One line for each hypothesis.</summary>
    private static void Print(IReadOnlyList<OrtValue> outputs)
    {
        long[] shape = outputs[0].GetTensorTypeAndShape().Shape; // [batch, returned, total_len]
        int returned = (int)shape[1], total = (int)shape[2];
        int steps = (int)outputs[3].GetTensorTypeAndShape().Shape[2];
        var ids = outputs[0].GetTensorDataAsSpan<long>();
        var scores = outputs[1].GetTensorDataAsSpan<float>();
        var reasons = outputs[2].GetTensorDataAsSpan<long>();
        var beams = outputs[3].GetTensorDataAsSpan<long>();
        for (int i = 0; i < reasons.Length; i++)
        {
            if (reasons[i] == 0) continue; // the search found fewer than were asked for
            // beam_indices is -1 behind the end: no need to know the EOS and padding ids
            int end = beams.Slice(i * steps, steps).IndexOf(-1L);
            var generated = ids.Slice((i + 1) * total - steps, end < 0 ? steps : end);
            string score = scores[i].ToString("F6", CultureInfo.InvariantCulture);
            string tokens = string.Join(" ", generated.ToArray());
            Console.WriteLine($"{i / returned}\t{score}\t{Reasons[reasons[i]]}\t{tokens}");
        }
    }
}
